//! An SSH connection to a ready guest: one master, many sessions over it.
//!
//! [`keys`] makes and finds the keys, [`config`] writes the one `ssh_config` that is used (never
//! the user's own), [`login`] waits until somebody needs a connection, [`master`] runs `ssh -M` as our
//! child and learns by [`arrival`] that it is in; [`vsock`] is the way to a guest without a network.
//! Files use it, which are the business of `sync`, and [`shell`] in a VM that somebody else attends.

pub(crate) mod arrival;
pub(crate) mod config;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod master;
pub(crate) mod shell;
pub(crate) mod socket;
pub mod vsock;

pub(crate) use config::{Endpoint, SshConfig};
pub(crate) use keys::Keys;
pub(crate) use login::Login;
pub(crate) use master::Master;

use std::io;

use camino::Utf8PathBuf;

use crate::process::ToolError;

/// Why there is no SSH connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A key could not be made.
    #[error("cannot make the SSH key `{path}`")]
    Key {
        /// Where it was to be.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: ToolError,
    },
    /// A file of the session could not be read or written.
    #[error("cannot prepare the SSH session")]
    Io(#[from] io::Error),
    /// `ssh` could not be started.
    #[error("cannot start `ssh`")]
    Start(#[source] io::Error),
    /// `ssh` gave up.
    #[error("ssh could not connect to the guest: {0}")]
    Refused(String),
    /// The guest did not answer in time.
    #[error("the guest did not answer over SSH within {0} s")]
    Silent(u64),
    /// The connection's control socket does not answer.
    #[error("the SSH connection to the guest is lost: {0}")]
    Lost(String),
    /// The socket's path is longer than a socket's path may be.
    #[error("`{0}` is too long for a socket's path")]
    PathTooLong(Utf8PathBuf),
}

impl SessionError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start(source) if source.kind() == io::ErrorKind::NotFound => {
                Some("`cargo banger doctor --fix` installs the OpenSSH client".to_owned())
            }
            Self::PathTooLong(_) => {
                Some("set BANGER_HOME or XDG_RUNTIME_DIR to a shorter path".to_owned())
            }
            _ => None,
        }
    }
}
