//! What a VM is to be, and where, before anything of it exists.

use std::ffi::OsStr;

use camino::{Utf8Path, Utf8PathBuf};

use super::BootFiles;
use crate::event::Events;
use crate::host::kvm::Kvm;
use crate::layer::Layer;
use crate::rundir::Layout;
use crate::spec::{VmName, VmSpec};
use crate::sync::Root;

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
    /// The workspace's root directory: names its disk.
    pub root: Utf8PathBuf,
    /// The trees to send.
    pub roots: Vec<Root>,
    /// The directory for build output, which stays in the guest's own disk; `None` where nothing
    /// is built, so that only what was sent is kept.
    pub target: Option<Utf8PathBuf>,
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
