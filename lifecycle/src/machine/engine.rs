//! Which VMM runs a VM, and on what: decided before anything is made.
//!
//! | VMM | needs | can |
//! |---|---|---|
//! | Firecracker | its program, usable KVM | vsock; with root dm snapshots, and taps with NAT |
//! | QEMU | its program | KVM or emulation, user networking, qcow2 |
//!
//! QEMU unless somebody asks for the other; what is asked for and cannot be is an error, never
//! something else.

use camino::Utf8PathBuf;

use super::plan::{Host, Plan};
use crate::event::Stage;
use crate::network;
use crate::overlay::{DiskFormat, RootOverlay, dm_snapshot};
use crate::process::find_program;
use crate::seed::Seed;
use crate::session::Keys;
use crate::spec::{Accel, Init, Net, VmSpec, VmmKind};
use crate::template::{ROOT, ROOT_COW, ROOT_RAW};
use crate::vmm::firecracker::{self, release};
use crate::vmm::{Accelerator, VmmError, qemu};

/// A VMM, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Engine {
    pub(super) vmm: VmmKind,
    pub(super) program: Utf8PathBuf,
    pub(super) accelerator: Accelerator,
    pub(super) root: RootOverlay,
    /// What the guest reaches, and how: not `auto` any more.
    pub(super) net: Net,
}

impl Engine {
    /// Decides, and says so where it is the slow one.
    pub(super) fn choose(plan: &Plan, host: Host<'_>) -> Result<Self, VmmError> {
        let spec = &plan.spec;
        let vmm = spec.vmm.unwrap_or(VmmKind::Qemu);
        let net = network(vmm, spec.net, host)?;
        if vmm == VmmKind::Qemu && (spec.disk_rate.is_some() || spec.net_rate.is_some()) {
            let what = "limits on devices (`--disk-rate`, `--net-rate`)";
            return Err(unsupported(vmm, what, "`--vmm firecracker` does"));
        }
        let (program, accelerator, root) = match vmm {
            VmmKind::Qemu => (qemu::PROGRAM, accelerator(spec, host), RootOverlay::Qcow2),
            VmmKind::Firecracker => match obstacle(spec, host) {
                Some(error) => return Err(error),
                None if dm_snapshot::is_available(host.path) => {
                    (firecracker::PROGRAM, Accelerator::Kvm, RootOverlay::Snapshot)
                }
                None => (firecracker::PROGRAM, Accelerator::Kvm, RootOverlay::Copy),
            },
        };
        host.events.means(Stage::Overlay, root.as_str());
        host.events.means(Stage::Boot, format!("{vmm}, {}", accelerator.as_str()));
        let own = plan.firecracker.clone().filter(|_| vmm == VmmKind::Firecracker);
        let program = own.unwrap_or_else(|| find(program, host));
        Ok(Self { vmm, program, accelerator, root, net })
    }

    /// What kind of disks it takes.
    pub(super) fn disk_format(&self) -> DiskFormat {
        match self.vmm {
            VmmKind::Qemu => DiskFormat::Qcow2,
            VmmKind::Firecracker => DiskFormat::Raw,
        }
    }

    /// The name, among a VM's and a template's files, of what the guest writes to its root disk.
    pub(super) fn root_disk(&self) -> &'static str {
        match self.root {
            RootOverlay::Qcow2 => ROOT,
            RootOverlay::Snapshot => ROOT_COW,
            RootOverlay::Copy => ROOT_RAW,
        }
    }

    /// Whether the guest is reached over vsock, and not over a network.
    pub(super) fn has_vsock(&self) -> bool {
        self.vmm == VmmKind::Firecracker
    }

    /// Whether the guest has a network device.
    pub(super) fn has_link(&self) -> bool {
        !self.has_vsock() || self.net == Net::Tap
    }

    /// What its guests are told at boot; to those of Firecracker disks have no serial numbers.
    pub(super) fn seed<'a>(&self, init: Init, keys: &'a Keys) -> Seed<'a> {
        let root = (self.vmm == VmmKind::Firecracker).then_some("/dev/vda");
        Seed { init, has_link: self.has_link(), has_vsock: self.has_vsock(), root, keys }
    }
}

/// By what means the guest reaches out.
fn network(vmm: VmmKind, net: Net, host: Host<'_>) -> Result<Net, VmmError> {
    match (vmm, net) {
        (_, Net::None) => Ok(Net::None),
        (VmmKind::Qemu, Net::Auto | Net::User) => Ok(Net::User),
        (VmmKind::Qemu, Net::Tap) => {
            Err(unsupported(vmm, "taps (`--net=tap`)", "`--net=user`, or `--vmm firecracker`"))
        }
        (VmmKind::Firecracker, Net::User) => {
            let hint = "`--net=tap` with root, or `--vmm qemu`";
            Err(unsupported(vmm, "user networking (`--net=user`)", hint))
        }
        (VmmKind::Firecracker, Net::Auto | Net::Tap) => match network::obstacle(host.path) {
            Some(hint) => Err(unsupported(vmm, "outbound network (`--net`) here", hint)),
            None => Ok(Net::Tap),
        },
    }
}

fn unsupported(vmm: VmmKind, what: &str, hint: &str) -> VmmError {
    VmmError::Unsupported { vmm, what: what.to_owned(), hint: hint.to_owned() }
}

/// Why Firecracker cannot run such a VM here.
fn obstacle(spec: &VmSpec, host: Host<'_>) -> Option<VmmError> {
    let unsupported = |what: &str, hint: &str| Some(unsupported(VmmKind::Firecracker, what, hint));
    if spec.accel == Accel::Tcg {
        return unsupported("emulation (`--accel tcg`)", "`--vmm qemu` emulates");
    }
    if spec.accel == Accel::Auto && !host.kvm.usable {
        let reason = host.kvm.reason.as_ref();
        let hint = reason.and_then(crate::host::kvm::KvmProblem::hint);
        let what = reason.map_or_else(String::new, |reason| format!(": {reason}"));
        let hint = hint.unwrap_or_else(|| "`--vmm qemu` needs no KVM".to_owned());
        return unsupported(&format!("a host without KVM{what}"), &hint);
    }
    None
}

fn accelerator(spec: &VmSpec, host: Host<'_>) -> Accelerator {
    match spec.accel {
        Accel::Kvm => Accelerator::Kvm,
        Accel::Tcg => Accelerator::Tcg,
        Accel::Auto if host.kvm.usable => Accelerator::Kvm,
        Accel::Auto => {
            let reason = host.kvm.reason.as_ref().map(ToString::to_string).unwrap_or_default();
            host.events.note(format!("slow, emulated VM (TCG): {reason}"));
            Accelerator::Tcg
        }
    }
}

/// Where a program is, or where `setup` has put it; its name where it is nowhere, so that starting
/// it tells.
fn find(program: &str, host: Host<'_>) -> Utf8PathBuf {
    let found = find_program(program, host.path);
    let found = found.and_then(|path| Utf8PathBuf::from_path_buf(path).ok());
    let installed = Some(release::place(host.layout, program)).filter(|path| path.exists());
    found.or(installed).unwrap_or_else(|| program.into())
}
