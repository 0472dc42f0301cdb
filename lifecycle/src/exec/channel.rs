//! The connection over which the guest's agent runs commands, one at a time.
//!
//! ```text
//! run ── frames ──► sender ──► agent ──► listener ── of the command that runs ──► run
//!                                           └─────── of one that is over ───────► nobody
//! ```
//!
//! Two tasks hold the ends of the connection, so that no frame is cut in two by whoever gives up
//! waiting for a command.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::frame::{LONGEST, PIECE, Said, Told, receive};
use super::{ExecError, Terminal};

/// How many frames may wait, in either direction.
const WAITING: usize = 4;

/// A connection to the agent. Dropping it closes it; what runs in the guest goes on.
#[derive(Debug)]
pub(crate) struct Channel {
    frames: mpsc::Sender<Vec<u8>>,
    current: Arc<Mutex<Current>>,
    tasks: [JoinHandle<()>; 2],
}

/// The command that runs, or the last one.
#[derive(Debug, Default)]
struct Current {
    command: u32,
    /// Who is told of it.
    listener: Option<mpsc::Sender<Told>>,
    /// Whether the connection has ended.
    ended: bool,
}

/// A command that was started.
#[derive(Debug)]
pub(super) struct Started {
    /// What is told of it. Ends with the connection.
    pub(super) told: mpsc::Receiver<Told>,
    pub(super) speaker: Speaker,
}

/// Says things of one command.
#[derive(Clone, Debug)]
pub(super) struct Speaker {
    command: u32,
    frames: mpsc::Sender<Vec<u8>>,
}

impl Channel {
    /// Speaks to the agent over a stream.
    pub(crate) fn over(stream: UnixStream) -> Self {
        let (output, input) = stream.into_split();
        let (frames, to_send) = mpsc::channel(WAITING);
        let current = Arc::<Mutex<Current>>::default();
        let tasks = [
            tokio::spawn(send(to_send, input)),
            tokio::spawn(listen(output, Arc::clone(&current))),
        ];
        Self { frames, current, tasks }
    }

    /// Has the agent start a program, on a terminal where there is one, and else perhaps one that tells a
    /// verdict. A command that still runs is killed.
    pub(super) async fn start(
        &self,
        program: &[u8],
        terminal: Option<&Terminal>,
        for_verdict: bool,
    ) -> Result<Started, ExecError> {
        if program.len() > LONGEST {
            return Err(ExecError::TooLong { length: program.len(), most: LONGEST });
        }
        let said = match terminal {
            None if for_verdict => Said::RunForVerdict(program),
            None => Said::Run(program),
            Some(Terminal { size, errors_apart, .. }) => {
                let (size, errors_apart) = (*size.borrow(), *errors_apart);
                Said::RunOnTerminal { program, size, errors_apart }
            }
        };
        let (listener, told) = mpsc::channel(WAITING);
        let command = {
            let mut current = self.current();
            if current.ended {
                return Err(ExecError::NoStatus);
            }
            current.command = current.command.wrapping_add(1);
            current.listener = Some(listener);
            current.command
        };
        let speaker = Speaker { command, frames: self.frames.clone() };
        speaker.say(said).await;
        Ok(Started { told, speaker })
    }

    /// Signals the process group of the command that runs, or of what is left of the last one.
    pub(crate) async fn signal(&self, signal: Signal) {
        let command = self.current().command;
        if command == 0 {
            return;
        }
        let speaker = Speaker { command, frames: self.frames.clone() };
        speaker.say(Said::Signal(signal)).await;
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Speaker {
    /// Says something; where the connection has ended, that is told by its other direction.
    pub(super) async fn say(&self, said: Said<'_>) {
        drop(self.frames.send(said.frame(self.command)).await);
    }
}

async fn send(mut frames: mpsc::Receiver<Vec<u8>>, mut to: impl AsyncWrite + Unpin) {
    while let Some(frame) = frames.recv().await {
        if let Err(error) = to.write_all(&frame).await {
            tracing::debug!(%error, "the agent is gone");
            return;
        }
    }
}

async fn listen(from: impl AsyncRead + Unpin, current: Arc<Mutex<Current>>) {
    let mut from = BufReader::with_capacity(2 * PIECE, from);
    let current = || current.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match receive(&mut from).await {
            Ok(Some((command, told))) => {
                let listener = {
                    let current = current();
                    current.listener.clone().filter(|_| command == current.command)
                };
                if let Some(listener) = listener {
                    // Whoever ran it may have given up.
                    drop(listener.send(told).await);
                }
            }
            ended => {
                tracing::debug!(?ended, "the agent's connection");
                break;
            }
        }
    }
    let mut current = current();
    (current.listener, current.ended) = (None, true);
}
