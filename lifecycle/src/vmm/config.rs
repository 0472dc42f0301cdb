//! All that decides what a VMM is told: the same for every backend.

use banger_protocol::guest;
use camino::Utf8PathBuf;

use super::firecracker::Home;
use super::{Accelerator, Disk, Memory};
use crate::network::passt::Way;
use crate::spec::{VmSpec, VmmKind};

/// A VM, as a backend is to make it.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: String,
    pub(crate) vmm: VmmKind,
    /// The VMM's program.
    pub(crate) program: Utf8PathBuf,
    pub(crate) spec: VmSpec,
    pub(crate) accelerator: Accelerator,
    pub(crate) kernel: Utf8PathBuf,
    pub(crate) initrd: Utf8PathBuf,
    pub(crate) console_log: Utf8PathBuf,
    /// Where Firecracker runs.
    pub(crate) home: Home,
    /// The network namespace that the VMM runs in, where the VM has a tap.
    pub(crate) namespace: Option<Utf8PathBuf>,
    /// How its guest gets out by `passt`, where it does.
    pub(crate) way: Option<Way>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) tsc_khz: Option<u64>,
    pub(crate) memory: Memory,
    /// The devices' state that it goes on from, where it is a template's.
    pub(crate) state: Option<Utf8PathBuf>,
}

impl Config {
    /// The VMM's own configuration, for the record.
    pub(crate) fn record(&self) -> serde_json::Value {
        match self.vmm {
            VmmKind::Qemu => serde_json::json!({ "qemu": super::qemu::args(self) }),
            VmmKind::Firecracker => {
                serde_json::json!({ "firecracker": super::firecracker::Setup::of(self) })
            }
        }
    }

    /// Has Firecracker see what the VM boots from, or goes on from.
    pub(crate) fn lend(&mut self) -> std::io::Result<()> {
        let Self { home, kernel, initrd, memory, state, .. } = self;
        match (memory, state) {
            (Memory::Template(memory), Some(state)) => {
                home.lend(memory, "memory")?;
                home.lend(state, "state")
            }
            _ => {
                home.lend(kernel, "vmlinux")?;
                home.lend(initrd, "initrd.cpio")
            }
        }
    }

    /// The kernel's command line.
    pub(crate) fn command_line(&self) -> String {
        command_line(self.vmm, self.accelerator, self.tsc_khz)
    }
}

/// The kernel's command line. A panic ends the VM at once: the kernel reboots, and no VMM of ours
/// starts it again.
pub(crate) fn command_line(vmm: VmmKind, accelerator: Accelerator, tsc_khz: Option<u64>) -> String {
    let reboot = match vmm {
        // By a triple fault.
        VmmKind::Qemu => "t",
        // By the keyboard controller, which is the one way out that it knows.
        VmmKind::Firecracker => "k",
    };
    let mut words = vec![
        format!("console=ttyS0 quiet reboot={reboot} panic=-1 net.ifnames=0 random.trust_cpu=on"),
        // A throwaway guest gains nothing by these, and an emulated one pays dearly.
        "mitigations=off nokaslr cryptomgr.notests".to_owned(),
        guest::WORD.to_owned(),
    ];
    if accelerator == Accelerator::Tcg {
        words.push("no_timer_check tsc=reliable".to_owned());
        words.extend(tsc_khz.map(|khz| format!("tsc_early_khz={khz}")));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulated_guest_is_told_its_clock_and_a_kvm_guest_is_not() {
        let qemu = |accelerator, khz| command_line(VmmKind::Qemu, accelerator, khz);
        assert!(qemu(Accelerator::Tcg, Some(2_000_000)).contains("tsc_early_khz=2000000"));
        assert!(!qemu(Accelerator::Kvm, None).contains("tsc"));
        let other = command_line(VmmKind::Firecracker, Accelerator::Kvm, None);
        assert!(other.contains("reboot=k"), "{other}");
    }

    #[test]
    fn every_guest_is_told_that_it_is_one() {
        for vmm in [VmmKind::Qemu, VmmKind::Firecracker] {
            for accelerator in [Accelerator::Kvm, Accelerator::Tcg] {
                for khz in [None, Some(2_000_000)] {
                    let line = command_line(vmm, accelerator, khz);
                    assert!(guest::is_guest(&line), "{line}");
                }
            }
        }
    }
}
