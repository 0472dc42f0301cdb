//! The process that runs a VM.
//!
//! [`qemu`] and [`firecracker`] are the backends; [`launch`] starts either, [`running`] is a VM of
//! either, [`end`] notices when it is one no more; [`outside`] is how a guest of QEMU's gets out;
//! [`console`] reads what the guest prints, in bounded [`lines`]; all that a VMM writes becomes a
//! [`recording`] in a bounded [`log`], which a [`keeper`] goes on with for a VM that stays; [`clock`]
//! measures what an emulated guest cannot measure itself. A backend
//! computes what it tells its VMM as a value first, from one [`Config`], then applies it.

pub(crate) mod clock;
pub(crate) mod config;
pub(crate) mod console;
mod end;
pub mod firecracker;
pub(crate) mod keeper;
mod launch;
mod lines;
mod log;
mod outside;
pub(crate) mod qemu;
mod recording;
mod running;

pub(crate) use config::Config;
pub use keeper::keep_logs;
pub(crate) use outside::GATE;
pub(crate) use running::Vmm;

use std::io;
use std::process::ExitStatus;

use camino::{Utf8Path, Utf8PathBuf};

use crate::process::describe;
use crate::spec::VmmKind;

/// What executes the guest's instructions, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    Kvm,
    Tcg,
}

impl Accelerator {
    /// The name by which users know it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        }
    }
}

/// A disk of the VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    /// Node name, and the serial number by which the guest finds it.
    pub(crate) serial: &'static str,
    /// For QEMU a qcow2 file of the size that the guest sees, for Firecracker a raw one.
    pub(crate) path: Utf8PathBuf,
    /// A raw file under it, where the qcow2 file itself names none; always `None` for Firecracker.
    pub(crate) base: Option<Utf8PathBuf>,
    pub(crate) read_only: bool,
}

/// Where the guest's memory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The VMM's own.
    Private,
    /// In a file that holds what the guest writes: a template's, while it is made.
    Kept(Utf8PathBuf),
    /// In a file that it goes on from and writes to: a template's that is made from another.
    Continued(Utf8PathBuf),
    /// A private copy-on-write view of a template's file; the VM starts from its state.
    Template(Utf8PathBuf),
}

impl Memory {
    /// The file that it is in, which a state is of no use without.
    pub(crate) fn kept(&self) -> io::Result<&Utf8Path> {
        match self {
            Self::Private => Err(io::Error::other("the guest's memory is in no file")),
            Self::Kept(file) | Self::Continued(file) | Self::Template(file) => Ok(file),
        }
    }

    /// Whether the VM starts from a state, and does not boot.
    pub(crate) const fn is_restored(&self) -> bool {
        matches!(self, Self::Continued(_) | Self::Template(_))
    }
}

/// Why a VM did not come up, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmmError {
    /// The VMM is not installed or cannot be started.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The VMM's control connection failed.
    #[error("cannot talk to the VMM")]
    Control(#[source] io::Error),
    /// The VMM refused a command.
    #[error("the VMM refused `{command}`: {reason}")]
    Refused {
        /// The command.
        command: String,
        /// The VMM's own words.
        reason: String,
    },
    /// The VMM ended before the guest was ready, or while it was in use.
    #[error("the VMM {}{}", describe(.status), with(.stderr))]
    Ended {
        /// How.
        status: ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// `passt` did not come up.
    #[error("`passt` {}{}", describe(.status), with(.stderr))]
    Passt {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The guest's kernel panicked.
    #[error("the guest's kernel panicked: {0}")]
    Panicked(String),
    /// The guest gave up and said why.
    #[error("the guest gave up: {0}")]
    GaveUp(String),
    /// The process of ours in the guest that runs commands is not there any more.
    #[error(
        "the guest's agent has ended: something in the guest killed it, or the guest is shutting down"
    )]
    Deserted,
    /// The guest switched itself off or rebooted.
    #[error("the guest switched itself off")]
    PoweredOff,
    /// The guest did not become ready in time.
    #[error("the guest was not ready within {seconds} s ({accelerator})")]
    Silent {
        /// The limit.
        seconds: u64,
        /// KVM or TCG.
        accelerator: &'static str,
    },
    /// The guest's agent could not do what it was told.
    #[error("the guest failed at {what}: {reason}")]
    Step {
        /// What was to be done.
        what: &'static str,
        /// The step and the error's number.
        reason: String,
    },
    /// The guest's agent did not answer.
    #[error("the guest did not answer within {seconds} s, at {what}")]
    NoAnswer {
        /// What was to be done.
        what: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// The VMM is of a version that does not do.
    #[error("this is {vmm} {found}, expected {expected}")]
    Version {
        /// Which one.
        vmm: VmmKind,
        /// Its version.
        found: String,
        /// The versions that do.
        expected: &'static str,
    },
    /// The VMM cannot do what is asked of it.
    #[error("{vmm} does not do {what}")]
    Unsupported {
        /// Which one.
        vmm: VmmKind,
        /// What it does not do.
        what: String,
        /// What does.
        hint: String,
    },
    /// A disk of the VM could not grow on the host.
    #[error("the host ran out of disk space for the VM's `{0}` disk; the VM was stopped")]
    HostDiskFull(String),
    /// A file of the VM could not be prepared.
    #[error("cannot prepare the VM's files")]
    Io(#[from] io::Error),
}

impl VmmError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start { program, source } if source.kind() == io::ErrorKind::NotFound => {
                Some(if program.ends_with(firecracker::PROGRAM) {
                    "`cargo banger setup` installs Firecracker; `--vmm qemu` does without"
                        .to_owned()
                } else {
                    "`cargo banger doctor --fix` installs QEMU".to_owned()
                })
            }
            Self::Passt { stderr, .. } if ["namespace", "unshare"].iter().any(|it| stderr.contains(it)) => {
                Some(
                    "`passt` confines itself to user namespaces, which this host or container does not \
                     allow; `--net=host-loopback` does without, and shows the guest this host's loopback"
                        .to_owned(),
                )
            }
            Self::Version { .. } => Some(
                "`cargo banger setup` installs one that does; `--firecracker` names it".to_owned(),
            ),
            Self::Unsupported { hint, .. } => Some(hint.clone()),
            Self::Refused { reason, .. } => firecracker::remedy(reason).map(str::to_owned),
            Self::Silent { accelerator: "KVM", .. } => {
                Some("this host's KVM may not run ordinary guests; try `--accel tcg`".to_owned())
            }
            Self::Silent { .. } => {
                Some("a busy host may need more time: `--boot-timeout 5m`".to_owned())
            }
            Self::HostDiskFull(_) => Some(
                "free some disk space; `cargo banger gc` removes what is not in use".to_owned(),
            ),
            _ => None,
        }
    }
}

/// Where the guest's console is written to, in the VM's directory.
pub(crate) const CONSOLE: &str = "console.log";

/// Where a VMM's own messages go.
fn log_path(run_dir: &Utf8Path) -> Utf8PathBuf {
    run_dir.join("vmm.log")
}

/// A standard error text, introduced.
fn with(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}
