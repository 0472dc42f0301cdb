//! A command on the caller's own terminal: `ssh` handles raw mode, window size and Ctrl-C.

use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::ExitStatusExt as _;

use tokio::process::Command;

use super::{ExecError, GuestCommand};
use crate::process::die_with_parent;
use crate::session::config::HOST;
use crate::session::{Master, SessionError};

/// Runs a command on our terminal, over the master's connection, and returns its exit status.
///
/// The child stays in the terminal's foreground process group, so keys reach it.
pub(crate) async fn run(master: &Master, command: &GuestCommand) -> Result<u8, ExecError> {
    let config = master.config();
    let mut ssh = Command::new("ssh");
    // Without one of ours, a terminal in the guest would never see the end of our input.
    let terminal = if std::io::stdin().is_terminal() { "-tt" } else { "-T" };
    ssh.args(["-F", config.file().as_str(), "-S", config.control().as_str(), terminal])
        .args(["-o", "ControlMaster=no", HOST, "--"])
        .arg(OsStr::from_bytes(&command.for_ssh()));
    let mut child = die_with_parent(&mut ssh)
        .spawn()
        .map_err(|source| ExecError::Session(SessionError::Start(source)))?;
    let status = child.wait().await?;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(signal)) => Ok(128 + u8::try_from(signal).unwrap_or(127)),
        (None, None) => Err(ExecError::NoStatus),
    }
}
