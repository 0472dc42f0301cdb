//! The `ssh_config` of one VM: complete, so that nothing of the user's own configuration applies.

use std::io;
use std::net::SocketAddr;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::Keys;
use crate::process::quote;

/// The name under which `ssh` knows the guest.
pub(crate) const HOST: &str = "vm";

/// Where the guest's sshd is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// On a network.
    Address(SocketAddr),
    /// Behind the Unix socket of a VM's vsock.
    Vsock(Utf8PathBuf),
}

/// Writes `ssh_config` and `known_hosts` into the run directory. `program` is `cargo-banger`, which
/// connects `ssh` where only it can.
pub(crate) fn write(
    run_dir: &Utf8Path,
    endpoint: &Endpoint,
    keys: &Keys,
    program: &Utf8Path,
) -> io::Result<()> {
    let known_hosts = run_dir.join("known_hosts");
    fs::write(&known_hosts, format!("{HOST} {}", keys.host_public()))?;
    let text = render(&reach(endpoint, program), keys.identity(), &known_hosts);
    fs::write(file(run_dir), text)
}

/// The configuration of a VM, for `ssh -F`.
pub(super) fn file(run_dir: &Utf8Path) -> Utf8PathBuf {
    run_dir.join("ssh_config")
}

/// Where `ssh` connects to, or what connects it.
fn reach(endpoint: &Endpoint, program: &Utf8Path) -> String {
    match endpoint {
        Endpoint::Address(address) => {
            format!("HostName {}\nPort {}\n", address.ip(), address.port())
        }
        Endpoint::Vsock(socket) => {
            // For a shell, and for `ssh`, to which a percent sign means something.
            let [program, socket] = [program, socket].map(|path| quote(path.as_str()));
            let command = format!("{program} banger vsock {socket} 22").replace('%', "%%");
            format!("HostName {HOST}\nProxyCommand {command}\nProxyUseFdpass yes\n")
        }
    }
}

/// The text. The algorithms are the cheapest of those that OpenSSH trusts: an emulated guest
/// spends most of its login on the key exchange.
fn render(reach: &str, identity: &Utf8Path, known: &Utf8Path) -> String {
    format!(
        "Host {HOST}\n\
         {reach}\
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
         LogLevel ERROR\n"
    )
}
