//! One VM and what it is asked to do.

use std::future::pending;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use banger_lifecycle::exec::{GuestCommand, Streams};
use banger_lifecycle::machine::Guest;
use banger_protocol::PROTOCOL_VERSION;
use banger_protocol::reply::{Reply, Stream};
use banger_protocol::request::{Request, Run, Start};
use banger_protocol::verdict::Verdict;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::wire::{Asked, Replies, Requests};
use super::{Listener, group};
use crate::boot::{self, Wish};
use crate::context::Context;
use crate::errand::within;
use crate::error::CommandError;
use crate::exit_code;
use crate::settings::{Flags, keys};

/// How much of a command's output is read at once, and how much may wait for us, in bytes.
const PIECE: usize = 64 << 10;

/// What is said of a command that the guest's kernel killed for want of memory.
const OUT_OF_MEMORY: &str = "the guest ran out of memory: `ram` gives it more";

/// The VM, from the request for it to its end.
pub(super) struct Session<'a> {
    context: &'a Context,
    listener: Listener,
    guest: Option<Guest>,
    /// What the VM was asked to be.
    started: Start,
    /// Whether tests come one after another.
    pub(super) serves_group: bool,
    /// Whether a command was begun whose end was not seen.
    unfinished: bool,
    /// What the settings give every command: variables, and the time that it may take.
    environment: Vec<(String, std::ffi::OsString)>,
    timeout: Option<Duration>,
}

impl<'a> Session<'a> {
    pub(super) fn new(context: &'a Context, listener: Listener) -> Self {
        let (started, environment) = (Start::default(), Vec::new());
        Self {
            context,
            listener,
            guest: None,
            started,
            serves_group: false,
            unfinished: false,
            environment,
            timeout: None,
        }
    }

    /// Answers requests, until there are no more or one is none.
    pub(super) async fn serve(&mut self, requests: &mut Requests, replies: Replies) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        replies.send(&Reply::Hello { protocol: PROTOCOL_VERSION, version }).await;
        self.listen(Some(replies.clone()));
        while let Some(asked) = requests.next().await {
            let gone = requests.gone();
            let broken = asked.is_err();
            let answer = tokio::select! {
                answer = self.answer(asked, requests, &replies) => answer,
                () = gone => break,
            };
            let reply = match answer {
                Ok(Some(reply)) => reply,
                Ok(None) => break,
                Err(error) => Reply::Failed(error.into()),
            };
            replies.send(&reply).await;
            if broken {
                break;
            }
        }
        self.listen(None);
    }

    /// Ends what a test that has gone left running.
    pub(super) async fn silence(&mut self) {
        if std::mem::take(&mut self.unfinished)
            && let Some(guest) = &mut self.guest
            && let Err(error) = guest.kill_command().await
        {
            tracing::debug!(%error, "the VM is given up");
            self.guest = None;
        }
    }

    /// Has events go to whoever is served now.
    pub(super) fn listen(&self, replies: Option<Replies>) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = replies;
    }

    /// Takes the VM down, if there is one.
    pub(super) async fn end(&mut self) -> Result<(), CommandError> {
        match self.guest.take() {
            Some(guest) => guest.shutdown().await.map(drop).map_err(CommandError::from),
            None => Ok(()),
        }
    }

    /// Takes the VM down without asking anything of the guest.
    pub(super) fn give_up(&mut self) {
        self.guest = None;
    }

    async fn answer(
        &mut self,
        asked: io::Result<Asked>,
        requests: &mut Requests,
        replies: &Replies,
    ) -> Result<Option<Reply>, CommandError> {
        let (request, input) = asked.map_err(|error| CommandError::usage(&error))?;
        let reply = match request {
            Request::Start(start) if start.shared.is_some() && !self.serves_group => {
                group::relay(start, requests, replies, self.context).await?;
                return Ok(None);
            }
            Request::Start(start) => self.start(start).await,
            Request::Run(run) => self.run(run, input, replies).await,
            Request::Push { host, guest } => {
                self.guest()?.push(Path::new(&host), Path::new(&guest)).await?;
                Ok(Reply::Done)
            }
            Request::Pull { guest, host } => {
                self.guest()?.fetch(Path::new(&guest), Path::new(&host)).await?;
                Ok(Reply::Done)
            }
            Request::Keep => {
                self.guest()?;
                if let Some(guest) = self.guest.take() {
                    guest.keep().await?;
                }
                Ok(Reply::Done)
            }
            Request::Shutdown => self.end().await.map(|()| Reply::Done),
        };
        reply.map(Some)
    }

    async fn start(&mut self, start: Start) -> Result<Reply, CommandError> {
        if let Some(guest) = &self.guest {
            let name = guest.name().to_string();
            return if self.serves_group && self.started == start {
                Ok(Reply::Started { name })
            } else {
                Err(CommandError::usage("the VM is started already, with other settings"))
            };
        }
        self.started = start.clone();
        let wish = Wish {
            flags: flags(&start)?,
            name: start.name,
            may_be_kept: start.may_be_kept,
            single_test: start.program.is_some(),
            program: start.program.map(Into::into),
            toolchain: start.toolchain,
            ..Wish::default()
        };
        let request = boot::Request::check(self.context, wish).await?;
        self.environment.clone_from(&request.settings.env);
        self.timeout = request.settings.timeout;
        let guest = request.start(self.context).await?;
        let name = guest.name().to_string();
        self.guest = Some(guest);
        Ok(Reply::Started { name })
    }

    async fn run(
        &mut self,
        run: Run,
        input: Vec<u8>,
        replies: &Replies,
    ) -> Result<Reply, CommandError> {
        let timeout = run.timeout_ms.map(Duration::from_millis).or(self.timeout);
        let mut told = run.tells_verdict.then(Vec::new);
        let command = self.command(run);
        let guest = self.guest.as_mut().ok_or_else(not_started)?;
        self.unfinished = true;
        let (stdout, stdout_theirs) = tokio::io::duplex(PIECE);
        let (stderr, stderr_theirs) = tokio::io::duplex(PIECE);
        let mut streams = Streams::to(stdout_theirs, stderr_theirs).reading(io::Cursor::new(input));
        if let Some(told) = &mut told {
            streams = streams.telling(told);
        }
        let passing = async {
            let (status, ..) = tokio::join!(
                guest.run(command, streams, pending),
                pass(stdout, Stream::Stdout, replies),
                pass(stderr, Stream::Stderr, replies),
            );
            Ok(status?)
        };
        match within(timeout, passing).await {
            Ok(status) => {
                self.unfinished = false;
                let note = guest.ran_out_of_memory(status).then(|| OUT_OF_MEMORY.to_owned());
                // Whatever the guest has put there instead of a verdict is none.
                let verdict = told.and_then(|told| Verdict::parse(&told));
                Ok(Reply::Exited { status, note, verdict })
            }
            Err(error) => {
                if error.code == exit_code::GUEST_LOST {
                    self.guest = None;
                }
                Err(error)
            }
        }
    }

    fn command(&self, run: Run) -> GuestCommand {
        let env = run.env.into_iter().map(|(name, value)| (name, value.into()));
        GuestCommand::new(run.argv.into_iter().map(Into::into).collect())
            .directory(run.directory.as_deref().map(Into::into))
            .environment(self.environment.iter().cloned().chain(env).collect())
            .user(run.user.as_deref())
    }

    fn guest(&mut self) -> Result<&mut Guest, CommandError> {
        self.guest.as_mut().ok_or_else(not_started)
    }
}

fn not_started() -> CommandError {
    CommandError::usage("the VM is not started")
}

/// The settings of a request, by the keys that are known.
fn flags(start: &Start) -> Result<Flags, CommandError> {
    let known = |(name, value): (&String, &String)| {
        Ok((keys::known(name, "the request")?.name, value.clone()))
    };
    start.settings.iter().map(known).collect()
}

/// Sends on what a command writes.
async fn pass(mut from: impl AsyncRead + Unpin, stream: Stream, replies: &Replies) {
    let mut buffer = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        replies.output(stream, &buffer[..read]).await;
    }
}
