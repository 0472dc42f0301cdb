//! The `ssh_config` of one VM: complete, so that nothing of the user's own configuration applies.

use std::net::SocketAddr;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::{Keys, SessionError};

/// The name under which `ssh` knows the guest.
pub(crate) const HOST: &str = "vm";

/// Longest control-socket path that works: `sun_path` holds 108 bytes, and `ssh` binds a
/// temporary name 17 bytes longer first.
const SOCKET_PATH_LIMIT: usize = 108 - 1 - 17;

/// Where the guest's sshd is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(pub(crate) SocketAddr);

/// The configuration on disk.
#[derive(Clone, Debug)]
pub(crate) struct SshConfig {
    file: Utf8PathBuf,
    control: Utf8PathBuf,
}

impl SshConfig {
    /// Writes `ssh_config` and `known_hosts` into the run directory.
    pub(crate) fn write(
        run_dir: &Utf8Path,
        control: &Utf8Path,
        endpoint: &Endpoint,
        keys: &Keys,
    ) -> Result<Self, SessionError> {
        if control.as_str().len() > SOCKET_PATH_LIMIT {
            return Err(SessionError::PathTooLong(control.to_owned()));
        }
        let known_hosts = run_dir.join("known_hosts");
        fs::write(&known_hosts, format!("{HOST} {}", keys.host_public()))?;
        let this = Self { file: run_dir.join("ssh_config"), control: control.to_owned() };
        fs::write(&this.file, render(endpoint, keys.identity(), &known_hosts, control))?;
        Ok(this)
    }

    /// The configuration of a VM that another process started.
    pub(crate) fn existing(run_dir: &Utf8Path, control: &Utf8Path) -> Self {
        Self { file: run_dir.join("ssh_config"), control: control.to_owned() }
    }

    /// For `ssh -F`.
    pub(crate) fn file(&self) -> &Utf8Path {
        &self.file
    }

    /// The master's control socket.
    pub(crate) fn control(&self) -> &Utf8Path {
        &self.control
    }
}

/// The text. The algorithms are the cheapest of those that OpenSSH trusts: an emulated guest
/// spends most of its login on the key exchange.
fn render(
    endpoint: &Endpoint,
    identity: &Utf8Path,
    known: &Utf8Path,
    control: &Utf8Path,
) -> String {
    let (address, port) = (endpoint.0.ip(), endpoint.0.port());
    format!(
        "Host {HOST}\n\
         HostName {address}\n\
         Port {port}\n\
         User root\n\
         HostKeyAlias {HOST}\n\
         IdentityFile \"{identity}\"\n\
         IdentitiesOnly yes\n\
         IdentityAgent none\n\
         UserKnownHostsFile \"{known}\"\n\
         GlobalKnownHostsFile /dev/null\n\
         StrictHostKeyChecking yes\n\
         UpdateHostKeys no\n\
         BatchMode yes\n\
         PreferredAuthentications publickey\n\
         KexAlgorithms ecdh-sha2-nistp256\n\
         HostKeyAlgorithms ecdsa-sha2-nistp256\n\
         PubkeyAcceptedKeyTypes ecdsa-sha2-nistp256\n\
         Ciphers aes128-gcm@openssh.com\n\
         MACs hmac-sha2-256\n\
         Compression no\n\
         ServerAliveInterval 20\n\
         ServerAliveCountMax 6\n\
         LogLevel ERROR\n\
         EscapeChar none\n\
         ControlPath \"{control}\"\n\
         ControlPersist no\n"
    )
}
