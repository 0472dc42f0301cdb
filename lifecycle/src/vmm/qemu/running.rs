//! A running QEMU: started, watched until the guest is ready, and killed.
//!
//! ```text
//! launch ─┬─► ready ──┬─► (in use: `failure` resolves if it dies) ─┬─► kill
//!         └─► restore ┘                                            └─► save, for a template
//!    every failure carries the console's tail
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use command_fds::{CommandFdExt as _, FdMapping};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::args::{CONSOLE_FD, QMP_FD};
use super::qmp::{Qmp, Seen};
use super::{Config, PROGRAM};
use crate::agent::Batch;
use crate::process::{last_lines, tie_to_parent};
use crate::vmm::console::{Console, Sign};
use crate::vmm::{Accelerator, VmmError};

/// How long a QEMU that has closed its console may take to end.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// A QEMU process. Dropping it kills it, unless it was [released](Qemu::release).
#[must_use = "dropping the VMM kills it"]
#[derive(Debug)]
pub(crate) struct Qemu {
    process: Process,
    console: Console,
    qmp: Qmp,
    seen: watch::Receiver<Seen>,
    stderr: Utf8PathBuf,
    accelerator: Accelerator,
}

/// The child itself, killed when dropped unless it was told to live on.
#[derive(Debug)]
struct Process {
    child: Child,
    lives_on: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.lives_on {
            drop(self.child.start_kill());
        }
    }
}

impl Qemu {
    /// Starts QEMU and opens its control connection.
    ///
    /// It dies with us, unless `may_outlive` allows a later [`Qemu::release`].
    pub(crate) async fn launch(
        config: &Config,
        run_dir: &Utf8Path,
        may_outlive: bool,
    ) -> Result<Self, VmmError> {
        let (console, console_theirs) = pair()?;
        let (control, control_theirs) = pair()?;
        let stderr = run_dir.join("vmm.log");
        let descriptors = vec![
            FdMapping { parent_fd: control_theirs, child_fd: QMP_FD },
            FdMapping { parent_fd: console_theirs, child_fd: CONSOLE_FD },
        ];
        let mut command = Command::new(PROGRAM);
        command.args(config.args()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(&stderr)?.into_parts().0);
        if may_outlive {
            command.process_group(0);
        } else {
            tie_to_parent(&mut command);
        }
        command.fd_mappings(descriptors).map_err(std::io::Error::other)?;
        let start = |source| VmmError::Start { program: PROGRAM.to_owned(), source };
        let child = command.spawn().map_err(start)?;
        let mut process = Process { child, lives_on: false };
        // The command holds the child's ends of the sockets: without it, they close with the child.
        drop(command);
        let (output, input) = console.into_split();
        let console = Console::follow(output, input);
        let qmp = tokio::select! {
            qmp = Qmp::negotiate(control) => qmp,
            status = process.child.wait() => return Err(ended(status?, &stderr)),
        };
        let qmp = match qmp {
            Ok(qmp) => qmp,
            Err(VmmError::Control(_)) => return Err(ended(process.child.wait().await?, &stderr)),
            Err(error) => return Err(error),
        };
        let seen = qmp.seen();
        let accelerator = config.accelerator;
        Ok(Self { process, console, qmp, seen, stderr, accelerator })
    }

    /// Waits until the guest's sshd listens, at most for `limit`.
    pub(crate) async fn ready(&mut self, limit: Duration) -> Result<(), VmmError> {
        tokio::select! {
            sign = self.console.sign() => match sign {
                Some(Sign::Ready) => Ok(()),
                _ => Err(self.failure().await),
            },
            error = failure(&mut self.process.child, &mut self.seen) => Err(self.explain(error).await),
            () = tokio::time::sleep(limit) => Err(VmmError::Silent {
                seconds: limit.as_secs(),
                accelerator: self.accelerator.as_str(),
            }),
        }
    }

    /// Resolves when the VM can no longer be used, with the reason.
    pub(crate) async fn failure(&mut self) -> VmmError {
        let error = failure(&mut self.process.child, &mut self.seen).await;
        self.explain(error).await
    }

    /// Has the guest go on from a template's state.
    pub(crate) async fn restore(&mut self, state: &Utf8Path) -> Result<(), VmmError> {
        let state = fs::File::open(state)?;
        match self.qmp.load(state.as_fd()).await {
            // QEMU ends when it cannot read a state, and says why.
            Err(VmmError::Control(_)) => Err(self.failure().await),
            loaded => loaded,
        }
    }

    /// Stops the guest for good and writes its devices' state to a new file.
    pub(crate) async fn save(&mut self, state: &Utf8Path) -> Result<(), VmmError> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(state)?;
        self.qmp.save(file.as_fd()).await?;
        Ok(file.sync_data()?)
    }

    /// Has the guest's agent carry out a batch, within `limit`.
    pub(crate) async fn perform(
        &mut self,
        what: &'static str,
        batch: &Batch,
        limit: Duration,
    ) -> Result<(), VmmError> {
        self.converse(async |console| console.perform(what, batch, limit).await).await
    }

    /// Talks to the guest's agent; the VM's end ends it.
    pub(crate) async fn converse<T, E: From<VmmError>>(
        &mut self,
        talk: impl AsyncFnOnce(&mut Console) -> Result<T, E>,
    ) -> Result<T, E> {
        let Self { console, process, seen, .. } = self;
        let end = tokio::select! {
            said = talk(console) => return said,
            end = failure(&mut process.child, seen) => end,
        };
        Err(self.explain(end).await.into())
    }

    /// Awaits something that needs the guest; the VM's end ends it.
    pub(crate) async fn attend<T, E: From<VmmError>>(
        &mut self,
        other: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            done = other => done,
            error = self.failure() => Err(error.into()),
        }
    }

    /// Where the guest's sshd is reached from this host.
    pub(crate) async fn ssh_address(&mut self) -> Result<SocketAddr, VmmError> {
        let port = self.qmp.forwarded_port().await?;
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// The last lines of the console.
    pub(crate) fn console_tail(&self) -> String {
        self.console.tail()
    }

    /// Kills QEMU and waits for its end.
    pub(crate) async fn kill(mut self) {
        if let Err(error) = self.process.child.kill().await {
            tracing::warn!(%error, "QEMU does not die");
        }
    }

    /// Leaves QEMU running without us; it must have been launched so that it may.
    pub(crate) fn release(mut self) {
        self.process.lives_on = true;
    }

    /// Turns a bare end into what the console says led to it.
    async fn explain(&mut self, end: End) -> VmmError {
        let status = match end {
            End::FullDisk(node) => return VmmError::HostDiskFull(node),
            End::Exited(status) => status,
        };
        // What the guest printed last may still be in the socket.
        let _ = tokio::time::timeout(LAST_BREATH, self.console.drained()).await;
        match self.console.last_sign() {
            Sign::Panicked(reason) => VmmError::Panicked(reason),
            Sign::GaveUp(reason) => VmmError::GaveUp(reason),
            Sign::Booting | Sign::Ready if status.success() => VmmError::PoweredOff,
            Sign::Booting | Sign::Ready => ended(status, &self.stderr),
        }
    }
}

/// How a VM stops being usable.
enum End {
    Exited(ExitStatus),
    FullDisk(String),
}

/// Waits for the end.
async fn failure(child: &mut Child, seen: &mut watch::Receiver<Seen>) -> End {
    let filled = async {
        match seen.wait_for(|seen| seen.full_disk.is_some()).await {
            Ok(seen) => seen.full_disk.clone().unwrap_or_default(),
            // QEMU closed its control connection: its end is what counts.
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        status = child.wait() => End::Exited(status.unwrap_or_default()),
        node = filled => End::FullDisk(node),
    }
}

/// QEMU's end, with what it wrote.
fn ended(status: ExitStatus, stderr: &Utf8Path) -> VmmError {
    let text = fs::read(stderr).unwrap_or_default();
    let stderr = last_lines(&String::from_utf8_lossy(&text), 5);
    let program = format!("{PROGRAM}: ");
    VmmError::Ended { status, stderr: stderr.replace(&program, "") }
}

/// A connected pair: ours for the runtime, theirs for the child.
fn pair() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}
