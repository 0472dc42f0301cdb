//! The user's keys for guests: one to log in with, one that guests show.
//!
//! Both are made once per user, by `ssh-keygen`, and kept 0600 under the state directory; the
//! guest's host key is known before it boots, so there is no trust on first use. They are of
//! ECDSA on P-256, for which OpenSSL has fast code: signing and verifying with Ed25519, which
//! OpenSSH does by plain code of its own, takes an emulated guest some 80 ms longer.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use tokio::process::Command;

use super::SessionError;
use crate::process::{run_tool, unless_gone};
use crate::rundir::publish::publish;
use crate::rundir::{FileLock, private};

/// Both key pairs, read.
#[derive(Clone)]
pub(crate) struct Keys {
    identity: Utf8PathBuf,
    user_public: String,
    host_private: String,
    host_public: String,
}

impl std::fmt::Debug for Keys {
    /// Leaves the private key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Keys {
    /// Reads the keys in `dir`, making those that are missing.
    pub(crate) async fn ensure(dir: &Utf8Path) -> Result<Self, SessionError> {
        let (identity, host) = (dir.join("identity"), dir.join("host"));
        if !public(&identity).exists() || !public(&host).exists() {
            private::create_dir_all(dir)?;
            let _lock = FileLock::exclusive(&dir.join(".lock")).await?;
            make(&identity).await?;
            make(&host).await?;
        }
        Ok(Self {
            user_public: fs::read_to_string(public(&identity))?,
            host_private: fs::read_to_string(&host)?,
            host_public: fs::read_to_string(public(&host))?,
            identity,
        })
    }

    /// The private key to log in with.
    pub(crate) fn identity(&self) -> &Utf8Path {
        &self.identity
    }

    /// The public half of [`Keys::identity`], for the guest's `authorized_keys`.
    pub(crate) fn user_public(&self) -> &str {
        &self.user_public
    }

    /// The guest's own private key.
    pub(crate) fn host_private(&self) -> &str {
        &self.host_private
    }

    /// The public half, for `known_hosts`.
    pub(crate) fn host_public(&self) -> &str {
        &self.host_public
    }
}

/// The public key's file.
///
/// Not where `ssh` would look for it: knowing the public half it first asks the guest whether that
/// would do, which an emulated guest takes some 20 ms to answer.
fn public(private: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{private}.public"))
}

/// Makes one pair under a temporary name, in PEM, in which the private half does not tell the
/// public one to who only glances at it; the public half, renamed last, says it is complete.
async fn make(private: &Utf8Path) -> Result<(), SessionError> {
    if public(private).exists() {
        return Ok(());
    }
    let part = Utf8PathBuf::from(format!("{private}.part"));
    let part_public = Utf8PathBuf::from(format!("{part}.pub"));
    for stale in [&part, &part_public] {
        unless_gone(fs::remove_file(stale))?;
    }
    let mut keygen = Command::new("ssh-keygen");
    keygen.args([
        "-q",
        "-t",
        "ecdsa",
        "-b",
        "256",
        "-m",
        "PEM",
        "-N",
        "",
        "-C",
        "banger",
        "-f",
        part.as_str(),
    ]);
    run_tool(&mut keygen)
        .await
        .map_err(|source| SessionError::Key { path: private.to_owned(), source })?;
    publish(&part, private)?;
    publish(&part_public, &public(private))?;
    Ok(())
}
