//! Kernel objects that live as long as a value: a filesystem on a loop device ([`ScratchFs`]), a
//! network namespace with a link to it ([`Peer`]), a systemd service ([`Service`]).
//!
//! Each is made with the system's own tools, needs root on a machine that nobody else uses, and is
//! removed when its value is dropped.

mod peer;
mod scratch_fs;
mod service;
mod tool;

pub use peer::Peer;
pub use scratch_fs::ScratchFs;
pub use service::Service;
pub use tool::{ToolError, run};
