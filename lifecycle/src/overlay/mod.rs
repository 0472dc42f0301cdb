//! The private writable disks of one VM over shared, never written bases.
//!
//! [`qcow2`] is the root disk's overlay, and [`raw`] what stands for one where the VMM knows no qcow2; [`blank`] is what stands in for a disk that is not there;
//! [`workspace_disk`] keeps a workspace's sources and
//! `target/` warm from run to run.

pub(crate) mod blank;
pub(crate) mod qcow2;
pub(crate) mod raw;
pub(crate) mod workspace_disk;

pub(crate) use workspace_disk::WorkspaceDisk;
pub use workspace_disk::remove_unused_disks;

use std::io;

use camino::Utf8PathBuf;

use crate::process::ToolError;

/// What kind of file a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFormat {
    Qcow2,
    Raw,
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
    /// A file could not be read, written or moved.
    #[error("cannot prepare the disks")]
    Io(#[from] io::Error),
}

impl OverlayError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
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
