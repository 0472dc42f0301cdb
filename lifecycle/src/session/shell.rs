//! A login shell of the guest on our own streams, for who has no connection to the guest's agent: it
//! has one only, to the process that started the VM.

use std::io::IsTerminal as _;

use camino::Utf8Path;
use tokio::process::Command;

use super::config::HOST;
use super::{SessionError, config};
use crate::process::{die_with_parent, quote, shell_status};

/// Logs in to the VM that has a run directory, runs one, and returns its exit status: `ssh` handles raw
/// mode, window size and Ctrl-C. Where it cannot log in, it says why, and its status is 255.
///
/// The child stays in the terminal's foreground process group, so keys reach it.
pub(crate) async fn run(
    run_dir: &Utf8Path,
    directory: Option<&Utf8Path>,
) -> Result<u8, SessionError> {
    let enter = directory.map(|directory| format!("cd {} && ", quote(directory.as_str())));
    let mut ssh = Command::new("ssh");
    // Without one of ours, a terminal in the guest would never see the end of our input.
    let terminal = if std::io::stdin().is_terminal() { "-tt" } else { "-T" };
    ssh.args(["-F", config::file(run_dir).as_str(), terminal, HOST, "--"])
        .arg(format!("{}exec bash -l", enter.unwrap_or_default()));
    let mut child = die_with_parent(&mut ssh).spawn().map_err(SessionError::Start)?;
    Ok(shell_status(child.wait().await?))
}
