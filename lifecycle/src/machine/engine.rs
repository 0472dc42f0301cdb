//! Which VMM runs a VM, and on what: decided before anything is made.
//!
//! | VMM | needs | can |
//! |---|---|---|
//! | Firecracker | its program, usable KVM | vsock; no network yet |
//! | QEMU | its program | KVM or emulation, user networking |
//!
//! QEMU unless somebody asks for the other, whose disks are whole copies; what is asked for and
//! cannot be is an error, never something else.

use camino::Utf8PathBuf;

use super::plan::Host;
use crate::overlay::DiskFormat;
use crate::process::find_program;
use crate::seed::Address;
use crate::spec::{Accel, Net, VmSpec, VmmKind};
use crate::template::{ROOT, ROOT_RAW};
use crate::vmm::{Accelerator, VmmError, firecracker, qemu};

/// A VMM, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Engine {
    pub(super) vmm: VmmKind,
    pub(super) program: Utf8PathBuf,
    pub(super) accelerator: Accelerator,
}

impl Engine {
    /// Decides, and says so where it is the slow one.
    pub(super) fn choose(spec: &VmSpec, host: Host<'_>) -> Result<Self, VmmError> {
        let vmm = spec.vmm.unwrap_or(VmmKind::Qemu);
        let (program, accelerator) = match vmm {
            VmmKind::Qemu => (qemu::PROGRAM, accelerator(spec, host)),
            VmmKind::Firecracker => match obstacle(spec, host) {
                Some(error) => return Err(error),
                None => (firecracker::PROGRAM, Accelerator::Kvm),
            },
        };
        Ok(Self { vmm, program: find(program, host), accelerator })
    }

    /// What kind of disks it takes.
    pub(super) fn disk_format(&self) -> DiskFormat {
        match self.vmm {
            VmmKind::Qemu => DiskFormat::Qcow2,
            VmmKind::Firecracker => DiskFormat::Raw,
        }
    }

    /// The root disk's name among a VM's and a template's files.
    pub(super) fn root_disk(&self) -> &'static str {
        match self.disk_format() {
            DiskFormat::Qcow2 => ROOT,
            DiskFormat::Raw => ROOT_RAW,
        }
    }

    /// The guest's address on the link to it, where there is one.
    pub(super) fn address(&self) -> Option<Address> {
        (self.vmm == VmmKind::Qemu).then_some(qemu::ADDRESS)
    }

    /// The root disk's device, where the guest sees no serial numbers.
    pub(super) fn root_device(&self) -> Option<&'static str> {
        (self.vmm == VmmKind::Firecracker).then_some("/dev/vda")
    }
}

/// Why Firecracker cannot run such a VM here.
fn obstacle(spec: &VmSpec, host: Host<'_>) -> Option<VmmError> {
    let unsupported = |what: &str, hint: &str| {
        Some(VmmError::Unsupported {
            vmm: VmmKind::Firecracker,
            what: what.to_owned(),
            hint: hint.to_owned(),
        })
    };
    if spec.accel == Accel::Tcg {
        return unsupported("emulation (`--accel tcg`)", "`--vmm qemu` emulates");
    }
    if spec.net != Net::None {
        return unsupported("outbound network (`--net`)", "`--vmm qemu` has user networking");
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

/// Where a program is; its name where it is nowhere, so that starting it tells.
fn find(program: &str, host: Host<'_>) -> Utf8PathBuf {
    let found = find_program(program, host.path);
    found.and_then(|path| Utf8PathBuf::from_path_buf(path).ok()).unwrap_or_else(|| program.into())
}
