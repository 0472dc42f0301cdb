//! SSH to a guest, for who has no connection to its agent.
//!
//! [`keys`] makes and finds the keys, [`config`] writes the one `ssh_config` that is used (never
//! the user's own), [`vsock`] is the way to a guest without a network, and [`shell`] runs a shell.

pub(crate) mod config;
pub(crate) mod keys;
pub(crate) mod shell;
pub(crate) mod socket;
pub mod vsock;

pub(crate) use config::Endpoint;
pub(crate) use keys::Keys;

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
}

impl SessionError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start(source) if source.kind() == io::ErrorKind::NotFound => {
                Some("`cargo banger doctor --fix` installs the OpenSSH client".to_owned())
            }
            _ => None,
        }
    }
}
