//! The private writable disks of one VM over shared, never written bases.
//!
//! The root disk's overlay is one of three, whichever the VMM and this host can do: [`qcow2`],
//! [`dm_snapshot`] over [`loop_device`]s, or a [`raw`] copy. [`blank`] stands in for a disk that is
//! not there; [`workspace_disk`] keeps a workspace's sources and `target/` warm from run to run.

pub(crate) mod blank;
pub(crate) mod dm_snapshot;
mod loop_device;
pub(crate) mod qcow2;
pub(crate) mod raw;
pub(crate) mod workspace_disk;

pub use workspace_disk::{DISK_BUDGET, trim_disks};
pub(crate) use workspace_disk::{Part, Place, WorkspaceDisk, WorkspaceDisks, saved_manifest};

use std::io;

use camino::Utf8PathBuf;

use crate::process::ToolError;

/// What kind of file a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFormat {
    Qcow2,
    Raw,
}

/// Whether a disk may be written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// How a VM's root disk is kept apart from the base that it shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootOverlay {
    /// A qcow2 file over it.
    Qcow2,
    /// A dm snapshot of it.
    Snapshot,
    /// A copy of it, which shares its blocks where the filesystem can.
    Copy,
}

impl RootOverlay {
    /// The name by which users know it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Snapshot => "dm-snapshot",
            Self::Copy => "copy",
        }
    }
}

/// Why a disk could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OverlayError {
    /// `qemu-img` or `mke2fs` failed.
    #[error("cannot make the disk `{path}`")]
    Create {
        /// The disk.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: ToolError,
    },
    /// The kernel refused a device-mapper device.
    #[error("cannot make the device `{name}`")]
    Device {
        /// Its name.
        name: String,
        /// Why; the kernel's log may tell more.
        #[source]
        source: io::Error,
    },
    /// A file could not be read, written or moved.
    #[error("cannot prepare the disks")]
    Io(#[from] io::Error),
}

impl OverlayError {
    /// Whether a tool could not make it of what is there, and not for want of room.
    fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Create { source: ToolError::Failed { stderr, .. }, .. }
            if !stderr.contains("No space left"))
    }

    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Device { .. } => {
                let modules = "`modprobe -a dm_snapshot dm_zero loop` as root";
                Some(format!("{modules}; `--vmm qemu` needs none of them"))
            }
            Self::Create { source, .. } => source
                .missing_program()
                .map(|program| format!("`cargo banger doctor --fix` installs `{program}`")),
            Self::Io(error) if error.kind() == io::ErrorKind::StorageFull => Some(
                "free some disk space; `cargo banger gc` removes what is not in use".to_owned(),
            ),
            Self::Io(_) => None,
        }
    }
}
