//! What a VM is to be, and where, before anything of it exists.

use std::ffi::OsStr;

use camino::{Utf8Path, Utf8PathBuf};

use super::BootFiles;
use crate::event::Events;
use crate::host::kvm::Kvm;
use crate::layer::Layer;
use crate::rundir::Layout;
use crate::spec::{VmName, VmSpec};
use crate::sync::{PullOptions, Root};
use crate::workspace::Trust;

/// A VM to be: checked settings, and guards on the shared files it will use.
#[derive(Debug)]
pub struct Plan {
    /// Its name; a generated one where `None`.
    pub name: Option<VmName>,
    /// Its shape.
    pub spec: VmSpec,
    /// Firecracker's program, where it is not to be looked for.
    pub firecracker: Option<Utf8PathBuf>,
    /// How it comes up.
    pub start: Start,
    /// What it boots from.
    pub boot: BootFiles,
    /// The read-only drives it gets.
    pub layers: Vec<Layer>,
    /// The host's executables that stand at their own paths in it, in the order in which the
    /// programs layer has them.
    pub programs: Vec<Utf8PathBuf>,
    /// Directories that are made in it where they are not there.
    pub directories: Vec<Utf8PathBuf>,
    /// The workspace that is synced into it.
    pub workspace: Option<WorkspacePlan>,
    /// Whether it may be told to stay after its command.
    pub may_be_kept: bool,
    /// How much may be fetched from it at a time.
    pub fetch: PullOptions,
    /// The directory its commands and shells start in, where it exists in the guest.
    pub directory: Option<Utf8PathBuf>,
}

/// How a VM comes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// As a clone of the template of its shape, which is made first where there is none.
    Template,
    /// By a boot of its own.
    Cold,
}

/// A workspace to be synced.
#[derive(Clone, Debug)]
pub struct WorkspacePlan {
    /// The workspace's root directory.
    pub root: Utf8PathBuf,
    /// How far it is believed.
    pub trust: Trust,
    /// The trees to send.
    pub roots: Vec<Root>,
    /// The directory for build output, which stays in the guest's own disk; `None` where nothing
    /// is built, so that only what was sent is kept.
    pub target: Option<Utf8PathBuf>,
}

impl WorkspacePlan {
    /// What its disk is called. What an untrusted command wrote is never on the disk of a trusted
    /// one, nor the other way round: a root is absolute, so none has such a name.
    pub(super) fn disk_name(&self) -> Utf8PathBuf {
        match self.trust {
            Trust::Trusted => self.root.clone(),
            Trust::Untrusted => format!("untrusted:{}", self.root).into(),
        }
    }
}

/// What VMs are made on.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Where banger's files are.
    pub layout: &'a Layout,
    /// What KVM is good for.
    pub kvm: &'a Kvm,
    /// The program search path.
    pub path: Option<&'a OsStr>,
    /// `cargo-banger` itself, which connects `ssh` where only it can.
    pub program: &'a Utf8Path,
    /// Who is told what happens.
    pub events: &'a Events,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusted_and_untrusted_runs_have_no_disk_in_common() {
        let plan = |root: &str, trust| WorkspacePlan {
            root: root.into(),
            trust,
            roots: Vec::new(),
            target: None,
        };
        let trusted = plan("/w", Trust::Trusted).disk_name();
        let untrusted = plan("/w", Trust::Untrusted).disk_name();
        assert_eq!(trusted, "/w", "disks of before are used on");
        assert!(!untrusted.is_absolute());
    }
}
