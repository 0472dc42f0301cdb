//! A command's standard streams, carried between the caller and the guest.
//!
//! The SSH master reads and writes pipes of ours, not the caller's own descriptors: it would make
//! those non-blocking, which other holders of the same terminal or pipe do not expect.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;

use super::{ExecError, GuestCommand};
use crate::session::Master;

/// How long output may stay silent after the command has ended before we stop waiting for what
/// its background children, which hold the streams open, might still write.
const LINGER: Duration = Duration::from_secs(1);

/// Where a command's streams go.
pub struct Streams<'a> {
    /// What the command reads; `None` is an empty input.
    pub stdin: Option<Box<dyn AsyncRead + Unpin + Send + 'a>>,
    /// Where its standard output goes.
    pub stdout: Box<dyn AsyncWrite + Unpin + Send + 'a>,
    /// Where its standard error goes.
    pub stderr: Box<dyn AsyncWrite + Unpin + Send + 'a>,
}

impl std::fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("stdin", &self.stdin.is_some()).finish_non_exhaustive()
    }
}

/// Runs a command to its end and returns its exit status.
pub(crate) async fn run(
    master: &Master,
    command: &GuestCommand,
    streams: Streams<'_>,
) -> Result<u8, ExecError> {
    let (stdin_theirs, stdin_ours) = pipe()?;
    let (stdout_ours, stdout_theirs) = pipe()?;
    let (stderr_ours, stderr_theirs) = pipe()?;
    let descriptors = [stdin_theirs.as_fd(), stdout_theirs.as_fd(), stderr_theirs.as_fd()];
    // Kept until the output has ended: the master drops what is under way when we leave.
    let mut session = master.session(&command.shell_text(), descriptors).await?;
    // The master holds its own copies now; with ours gone, the pipes end when it closes them.
    drop((stdin_theirs, stdout_theirs, stderr_theirs));

    let (exited, after_exit) = watch::channel(false);
    let input = feed(streams.stdin, Sender::from_owned_fd(nonblocking(stdin_ours)?)?);
    let outputs = async {
        tokio::try_join!(
            drain(receiver(stdout_ours)?, streams.stdout, after_exit.clone()),
            drain(receiver(stderr_ours)?, streams.stderr, after_exit.clone()),
        )
    };
    let status = async {
        let status = session.exit_status().await?;
        let _ = exited.send(true);
        status.map(|status| u8::try_from(status).unwrap_or(u8::MAX)).ok_or(ExecError::NoStatus)
    };
    tokio::pin!(input);
    let finish = async { tokio::join!(outputs, status) };
    tokio::pin!(finish);
    // Input that nobody reads any more must not keep us: the command's end decides.
    let mut feeding = true;
    let (outputs, status) = loop {
        tokio::select! {
            done = &mut finish => break done,
            () = &mut input, if feeding => feeding = false,
        }
    };
    outputs?;
    status
}

/// Runs a short command of our own with no input, and returns what it wrote.
pub(crate) async fn capture(
    master: &Master,
    command: &GuestCommand,
) -> Result<(u8, Vec<u8>, Vec<u8>), ExecError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let streams =
        Streams { stdin: None, stdout: Box::new(&mut stdout), stderr: Box::new(&mut stderr) };
    let status = run(master, command, streams).await?;
    Ok((status, stdout, stderr))
}

/// Copies the caller's input until it ends or nobody reads it; dropping the pipe is end of file.
async fn feed(from: Option<Box<dyn AsyncRead + Unpin + Send + '_>>, mut to: Sender) {
    if let Some(mut from) = from
        && let Err(error) = tokio::io::copy(&mut from, &mut to).await
    {
        tracing::debug!(%error, "standard input ends early");
    }
}

/// Copies output until it ends, or until it lingers after the command's exit.
async fn drain(
    mut from: Receiver,
    mut to: Box<dyn AsyncWrite + Unpin + Send + '_>,
    mut exited: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let linger = async {
            // An error means the sender is gone, and with it the session.
            drop(exited.wait_for(|exited| *exited).await);
            tokio::time::sleep(LINGER).await;
        };
        let read = tokio::select! {
            biased;
            read = from.read(&mut buffer) => read?,
            () = linger => 0,
        };
        if read == 0 {
            return to.flush().await;
        }
        match to.write_all(&buffer[..read]).await {
            Ok(()) => to.flush().await?,
            // Whoever read our output has gone: the command learns of it by the closed pipe.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// A pipe that no child inherits: read end, write end.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

/// Our read end of a pipe.
fn receiver(fd: OwnedFd) -> io::Result<Receiver> {
    Receiver::from_owned_fd(nonblocking(fd)?)
}

/// Makes one end of a pipe non-blocking; the other end has flags of its own.
fn nonblocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}
