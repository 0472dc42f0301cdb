//! A command's standard streams, carried between the caller and the guest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use banger_protocol::verdict;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::channel::{Speaker, Started};
use super::frame::{PIECE, Said, Told};
use super::{Channel, ExecError, GuestCommand, Terminal};
use crate::process::shell_status;

/// How long output may stay silent after the command has ended before we stop waiting for what
/// its background children, which hold the streams open, might still write.
const LINGER: Duration = Duration::from_secs(1);

/// How much is kept of a stream of a command of our own, in bytes; a guest's may write without end.
const CAPTURED: usize = 64 << 10;

type Reader<'a> = Box<dyn AsyncRead + Unpin + Send + 'a>;
type Writer<'a> = Box<dyn AsyncWrite + Unpin + Send + 'a>;

/// Where a command's streams lead.
pub struct Streams<'a> {
    stdin: Option<Reader<'a>>,
    stdout: Writer<'a>,
    stderr: Writer<'a>,
    terminal: Option<Terminal>,
    verdict: Option<&'a mut Vec<u8>>,
}

impl<'a> Streams<'a> {
    /// Where its output goes; its input is empty.
    pub fn to(
        stdout: impl AsyncWrite + Unpin + Send + 'a,
        stderr: impl AsyncWrite + Unpin + Send + 'a,
    ) -> Self {
        let (stdout, stderr) = (Box::new(stdout), Box::new(stderr));
        Self { stdin: None, stdout, stderr, terminal: None, verdict: None }
    }

    /// Gives it something to read.
    #[must_use]
    pub fn reading(self, stdin: impl AsyncRead + Unpin + Send + 'a) -> Self {
        Self { stdin: Some(Box::new(stdin)), ..self }
    }

    /// Has them be a terminal in the guest: what is read and written here passes through that.
    #[must_use]
    pub fn on(self, terminal: Terminal) -> Self {
        Self { terminal: Some(terminal), ..self }
    }

    /// Lets it tell a verdict beside its output, of at most [`verdict::LONGEST`] bytes, which nothing that
    /// it or its children print can be. Not for one on a terminal.
    #[must_use]
    pub fn telling(self, verdict: &'a mut Vec<u8>) -> Self {
        Self { verdict: Some(verdict), ..self }
    }
}

impl std::fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stdin = self.stdin.is_some();
        let mut debug = f.debug_struct("Streams");
        debug.field("stdin", &stdin).field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

/// Runs a command to its end and returns its exit status.
pub(crate) async fn run(
    channel: &Channel,
    command: &GuestCommand,
    streams: Streams<'_>,
) -> Result<u8, ExecError> {
    let Streams { stdin, stdout, stderr, terminal, verdict } = streams;
    let program = match terminal.as_ref().and_then(|terminal| terminal.kind.clone()) {
        Some(kind) => command.clone().within(&[("TERM".to_owned(), kind)]).for_agent()?,
        None => command.for_agent()?,
    };
    let Started { told, speaker } =
        channel.start(&program, terminal.as_ref(), verdict.is_some()).await?;
    let stderr = match &terminal {
        Some(Terminal { errors_apart: false, .. }) => None,
        _ => Some(stderr),
    };
    let (taking, taken) = mpsc::channel(1);
    let output = pass(told, [Some(stdout), stderr], verdict, &speaker, taking);
    let input = async {
        let sizes = async {
            if let Some(terminal) = terminal {
                terminal.follow(&speaker).await;
            }
        };
        tokio::join!(feed(stdin, &speaker, taken), sizes);
    };
    tokio::pin!(input, output);
    // Input that nobody reads any more must not keep us: the command's end decides.
    let mut feeding = true;
    loop {
        tokio::select! {
            status = &mut output => return status,
            () = &mut input, if feeding => feeding = false,
        }
    }
}

/// The same, with signals passed on to the command as they come. Its end is not behind a signal that the
/// guest does not take.
pub(crate) async fn run_signalled(
    channel: &Channel,
    command: &GuestCommand,
    streams: Streams<'_>,
    interrupt: &mut impl AsyncFnMut() -> Signal,
) -> Result<u8, ExecError> {
    let running = run(channel, command, streams);
    let signalling = async {
        loop {
            channel.signal(interrupt().await).await;
        }
    };
    tokio::select! {
        // The command is there before a signal for it.
        biased;
        status = running => status,
        never = signalling => never,
    }
}

/// Runs a short command of our own with no input, and returns the beginning of what it wrote.
pub(crate) async fn capture(
    channel: &Channel,
    command: &GuestCommand,
) -> Result<(u8, Vec<u8>, Vec<u8>), ExecError> {
    let (mut stdout, mut stderr) = (Beginning::default(), Beginning::default());
    let streams = Streams::to(&mut stdout, &mut stderr);
    let status = run(channel, command, streams).await?;
    Ok((status, stdout.0, stderr.0))
}

/// The beginning of what is written; the rest is taken in and dropped.
#[derive(Debug, Default)]
struct Beginning(Vec<u8>);

impl AsyncWrite for Beginning {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = CAPTURED - self.0.len();
        self.0.extend(&bytes[..bytes.len().min(room)]);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Sends the caller's input until it ends, or nobody reads it.
async fn feed(from: Option<Reader<'_>>, speaker: &Speaker, mut taken: mpsc::Receiver<bool>) {
    if let Some(mut from) = from {
        let mut piece = vec![0; PIECE];
        loop {
            match from.read(&mut piece).await {
                Ok(0) => break,
                Ok(read) => speaker.say(Said::Input(&piece[..read])).await,
                Err(error) => {
                    tracing::debug!(%error, "standard input ends early");
                    break;
                }
            }
            if taken.recv().await != Some(true) {
                return;
            }
        }
    }
    speaker.say(Said::Input(&[])).await;
}

/// Passes output on until the command and its output have ended, or that lingers after the end.
async fn pass(
    mut told: mpsc::Receiver<Told>,
    mut to: [Option<Writer<'_>>; 2],
    mut verdict: Option<&mut Vec<u8>>,
    speaker: &Speaker,
    taken: mpsc::Sender<bool>,
) -> Result<u8, ExecError> {
    // Only output extends the time for more of it.
    let (mut status, mut heard) = (None, Instant::now());
    loop {
        let next = match status {
            Some(status) if to.iter().all(Option::is_none) => return Ok(shell_status(status)),
            Some(status) => match timeout_at(heard + LINGER, told.recv()).await {
                Ok(next) => next,
                Err(_) => return Ok(shell_status(status)),
            },
            None => told.recv().await,
        };
        match next {
            // There may be no more input.
            Some(Told::Taken { open }) => drop(taken.try_send(open)),
            Some(Told::Status(ended, piece)) if status.is_none() => {
                take_verdict(verdict.as_deref_mut(), &piece)?;
                (status, heard) = (Some(ended), Instant::now());
            }
            Some(Told::Status(..)) => {}
            Some(Told::Verdict(piece)) => take_verdict(verdict.as_deref_mut(), &piece)?,
            Some(Told::Output(output, bytes)) => {
                let stream = &mut to[output as usize - 1];
                let Some(writer) = stream else { continue };
                if bytes.is_empty() {
                    *stream = None;
                } else if !write(writer, &bytes).await? {
                    // The command learns of it as of a closed pipe.
                    speaker.say(Said::Close(output)).await;
                    *stream = None;
                }
                heard = Instant::now();
            }
            None => return status.map(shell_status).ok_or(ExecError::NoStatus),
        }
    }
}

/// Takes in a piece of a verdict. One of an agent's making that was not asked for, or has no end, is none.
fn take_verdict(verdict: Option<&mut Vec<u8>>, piece: &[u8]) -> Result<(), ExecError> {
    match verdict {
        _ if piece.is_empty() => Ok(()),
        Some(verdict) if verdict.len() + piece.len() <= verdict::LONGEST => {
            verdict.extend_from_slice(piece);
            Ok(())
        }
        _ => Err(ExecError::Io(io::Error::other("the agent tells a verdict that cannot be one"))),
    }
}

/// Whether somebody reads what is written.
async fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<bool> {
    let written = async {
        to.write_all(bytes).await?;
        to.flush().await
    };
    match written.await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
