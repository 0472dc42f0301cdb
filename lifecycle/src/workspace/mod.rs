//! The cargo workspace a command runs in: its root, its members, and what it needs from outside.
//!
//! Cargo itself answers every question, so that its rules need no second copy here. Sending the
//! files is the work of `sync`; what a setting means is the caller's.

mod error;
mod load;
mod outside;
mod trust;

pub use error::WorkspaceError;
pub use load::{Member, Workspace};
pub use outside::Outside;
pub use trust::Trust;
