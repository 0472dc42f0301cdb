//! What Firecracker is told of a VM, computed as a value: the bodies of its API's requests.

use serde::Serialize;

use super::Home;
use crate::spec::Rate;
use crate::vmm::{Config, Disk};

/// The guest's CID; every VM has a vsock of its own, so that all may have the same.
const GUEST_CID: u32 = 3;

/// All that is told before the VM starts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setup {
    #[serde(rename = "machine-config")]
    pub(super) machine: Machine,
    #[serde(rename = "boot-source")]
    pub(super) boot: Boot,
    pub(super) drives: Vec<Drive>,
    #[serde(rename = "network-interfaces")]
    pub(super) interfaces: Vec<Interface>,
    pub(super) vsock: Vsock,
    /// Where it runs, by which what is told is to be understood.
    #[serde(skip)]
    pub(crate) home: Home,
    /// What is told once the VM runs, so that no template has it.
    pub(super) limits: Limits,
}

/// How much its devices may move; as much as they can where `None`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Limits {
    pub(super) disk: Option<RateLimiter>,
    pub(super) net: Option<RateLimiter>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RateLimiter {
    bandwidth: TokenBucket,
}

/// So many bytes in so many ms.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TokenBucket {
    size: u64,
    refill_time: u64,
}

impl From<Rate> for RateLimiter {
    fn from(rate: Rate) -> Self {
        Self { bandwidth: TokenBucket { size: rate.bytes(), refill_time: 1000 } }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    vcpu_count: u8,
    mem_size_mib: u32,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Boot {
    kernel_image_path: String,
    initrd_path: String,
    boot_args: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Drive {
    pub(super) drive_id: &'static str,
    path_on_host: String,
    is_root_device: bool,
    is_read_only: bool,
    cache_type: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Interface {
    pub(super) iface_id: &'static str,
    host_dev_name: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Vsock {
    guest_cid: u32,
    uds_path: &'static str,
}

impl Setup {
    /// The VM of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            machine: Machine {
                vcpu_count: config.spec.vcpu.get(),
                mem_size_mib: config.spec.ram.get(),
            },
            boot: Boot {
                kernel_image_path: config.home.told(&config.kernel),
                initrd_path: config.home.told(&config.initrd),
                boot_args: config.command_line(),
            },
            drives: config.disks.iter().map(drive).collect(),
            interfaces: config.namespace.iter().map(|_| interface()).collect(),
            vsock: Vsock { guest_cid: GUEST_CID, uds_path: super::VSOCK },
            home: config.home.clone(),
            limits: Limits {
                disk: config.spec.disk_rate.map(RateLimiter::from),
                net: config.spec.net_rate.map(RateLimiter::from),
            },
        }
    }
}

/// The guest's init finds the root disk, so that none is the root device for Firecracker.
fn drive(disk: &Disk) -> Drive {
    Drive {
        drive_id: disk.serial,
        path_on_host: disk_name(disk.serial),
        is_root_device: false,
        is_read_only: disk.read_only,
        // What is private is thrown away with the VM: no write waits for the host's disk.
        cache_type: "Unsafe",
    }
}

/// The guest makes up a hardware address of its own, which a clone replaces.
fn interface() -> Interface {
    Interface { iface_id: "eth0", host_dev_name: crate::network::TAP }
}

/// A disk's name in the VM's directory.
pub(crate) fn disk_name(serial: &str) -> String {
    format!("{serial}.disk")
}

/// A disk's device in the guest, which sees no serial numbers of ours: they come in order.
pub(crate) fn disk_device(number: usize) -> String {
    let letter = char::from(b'a' + u8::try_from(number).unwrap_or(25).min(25));
    format!("/dev/vd{letter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_come_in_order() {
        assert_eq!([0, 4].map(disk_device), ["/dev/vda", "/dev/vde"]);
    }
}
