//! Running one command in a ready guest: what is asked for ([`command`]), its streams
//! ([`stream`]), and a terminal where there is one ([`terminal`]).
//!
//! An exit status is the command's own; anything that keeps it from arriving is an [`ExecError`].

pub mod command;
pub(crate) mod stream;
pub(crate) mod terminal;

pub use command::GuestCommand;
pub use stream::Streams;

use std::io;

use crate::session::SessionError;

/// Why a command's exit status did not arrive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The connection is gone.
    #[error("cannot open a session in the guest")]
    Session(#[from] SessionError),
    /// A local pipe or process failed.
    #[error("cannot connect the command's streams")]
    Io(#[from] io::Error),
    /// The session ended without a status.
    #[error("the SSH connection to the guest ended before the command did")]
    NoStatus,
    /// A step of our own in the guest failed.
    #[error("`{what}` failed in the guest with {status}: {stderr}")]
    Step {
        /// What was to be done.
        what: &'static str,
        /// Its exit status.
        status: u8,
        /// The end of what it wrote.
        stderr: String,
    },
}
