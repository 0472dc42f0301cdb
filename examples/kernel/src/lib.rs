//! Kernel objects that live as long as a value: a filesystem on a loop device ([`ScratchFs`]), a
//! network namespace with a link to it ([`Peer`]), a systemd service ([`Service`]).
//!
//! Each is made with the system's own tools, needs root on a machine that nobody else uses, and is
//! removed when its value is dropped.

mod peer;
mod scratch_fs;
mod service;
mod tool;

use std::path::Path;

pub use peer::Peer;
pub use scratch_fs::ScratchFs;
pub use service::Service;
pub use tool::{ToolError, run};

/// Whether this machine is one of banger's: root is ours in it, and nothing in it is worth keeping.
#[must_use]
pub fn in_throwaway_vm() -> bool {
    Path::new("/run/banger").is_dir()
}
