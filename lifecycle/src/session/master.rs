//! The SSH master: one `ssh -M` child per VM, gone when we are.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use openssh_sftp_client::{Sftp, SftpOptions};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::arrival::Arrival;
use super::config::HOST;
use super::{SessionError, SshConfig};
use crate::process::{last_lines, tie_to_parent, unless_gone};

/// How long the whole login may take. Emulated guests on a busy host need seconds.
const LOGIN_LIMIT: Duration = Duration::from_secs(60);

/// A running master. Dropping it kills `ssh`, which removes its socket at the next sweep if not
/// before; [`Master::close`] does so in order.
#[must_use = "dropping the master ends the connection"]
#[derive(Debug)]
pub(crate) struct Master {
    child: Child,
    config: SshConfig,
}

impl Master {
    /// Logs in. Returns when sessions can be opened: `ssh` puts its control socket into its place
    /// once it is logged in and listens there.
    pub(crate) async fn connect(config: SshConfig) -> Result<Self, SessionError> {
        let arrival = Arrival::watch(config.control())?;
        let mut command = Command::new("ssh");
        command
            .args(["-F", config.file().as_str(), "-M", "-S", config.control().as_str()])
            .args(["-N", "-T", HOST])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = tie_to_parent(&mut command).spawn().map_err(SessionError::Start)?;
        tokio::select! {
            arrived = arrival.wait() => arrived?,
            _ = child.wait() => return Err(SessionError::Refused(stderr_of(&mut child).await)),
            () = tokio::time::sleep(LOGIN_LIMIT) => {
                return Err(SessionError::Silent(LOGIN_LIMIT.as_secs()));
            }
        }
        Ok(Self { child, config })
    }

    /// The configuration it runs with.
    pub(crate) fn config(&self) -> &SshConfig {
        &self.config
    }

    /// An SFTP client over a session of its own.
    pub(crate) async fn sftp(&self, options: SftpOptions) -> Result<Sftp, SessionError> {
        let control: Box<std::path::Path> = self.config.control().as_std_path().into();
        let session = Arc::new(openssh::Session::resume_mux(control, None));
        Sftp::from_clonable_session(session, options)
            .await
            .map_err(|error| SessionError::Lost(error.to_string()))
    }

    /// Kills `ssh`, waits for its end and removes its socket.
    pub(crate) async fn close(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::debug!(%error, "ssh has ended already");
        }
        remove_socket(self.config.control());
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        drop(self.child.start_kill());
        remove_socket(self.config.control());
    }
}

/// Removes the control socket if it is there.
fn remove_socket(path: &Utf8Path) {
    if let Err(error) = unless_gone(fs_err::remove_file(path)) {
        tracing::warn!(%error, "control socket stays");
    }
}

/// What `ssh` wrote before it ended.
async fn stderr_of(child: &mut Child) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = child.stderr.as_mut() {
        let reading = stderr.take(64 << 10).read_to_end(&mut text).await;
        if let Err(error) = reading {
            tracing::debug!(%error, "ssh's standard error cannot be read");
        }
    }
    let text = last_lines(&String::from_utf8_lossy(&text), 6);
    if text.is_empty() { "the connection was closed".to_owned() } else { text }
}
