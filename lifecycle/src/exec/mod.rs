//! Running one command in a ready guest: what is asked for ([`command`]), the connection to who runs
//! it ([`channel`]), its streams ([`stream`]), and a terminal in their place ([`terminal`]).
//!
//! Commands need no network and no login, so that a test may do to the guest's network what it
//! likes.
//!
//! An exit status is the command's own; anything that keeps it from arriving is an [`ExecError`].

pub(crate) mod channel;
pub mod command;
mod frame;
pub(crate) mod stream;
pub mod terminal;

pub(crate) use channel::Channel;
pub use command::GuestCommand;
pub use stream::Streams;
pub use terminal::Terminal;

use std::io;

use crate::process::last_lines;

/// Why a command's exit status did not arrive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// A stream of ours failed.
    #[error("cannot pass the command's streams on")]
    Io(#[from] io::Error),
    /// The connection to the agent ended.
    #[error("the connection to the guest's agent ended before the command did")]
    NoStatus,
    /// A word or a variable holds a zero byte, which ends a text for Linux.
    #[error("a command's words and variables cannot hold a zero byte")]
    ZeroByte,
    /// The command is longer than the agent takes.
    #[error("the command and its variables are {length} bytes long: expected at most {most}")]
    TooLong {
        /// What it takes, in bytes.
        length: usize,
        /// What there is room for.
        most: usize,
    },
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

/// How a step of our own in the guest went, by its status and what it wrote.
pub(crate) fn step_done(what: &'static str, status: u8, stderr: &[u8]) -> Result<(), ExecError> {
    if status == 0 {
        return Ok(());
    }
    let stderr = last_lines(&String::from_utf8_lossy(stderr), 5);
    Err(ExecError::Step { what, status, stderr })
}

impl ExecError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Step { status: 127, stderr, .. } if stderr.contains("sftp-server") => {
                let package = "the image needs it, of Debian's package `openssh-sftp-server`";
                Some(package.to_owned())
            }
            _ => None,
        }
    }
}
