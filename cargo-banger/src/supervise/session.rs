//! One VM and what it is asked to do.

use std::future::pending;
use std::io;
use std::path::Path;
use std::time::Duration;

use banger_lifecycle::exec::{GuestCommand, Streams};
use banger_lifecycle::machine::Guest;
use banger_protocol::PROTOCOL_VERSION;
use banger_protocol::reply::{Reply, Stream};
use banger_protocol::request::{Request, Run, Start};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::wire::{Asked, Replies, Requests};
use crate::boot::{self, Wish};
use crate::context::Context;
use crate::error::CommandError;
use crate::settings::{Flags, keys};

/// How much of a command's output is read at once, and how much may wait for us, in bytes.
const PIECE: usize = 64 << 10;

/// The VM, from the request for it to its end.
pub(super) struct Session<'a> {
    context: &'a Context,
    replies: Replies,
    guest: Option<Guest>,
    /// What the settings give every command: variables, and the time that it may take.
    environment: Vec<(String, std::ffi::OsString)>,
    timeout: Option<Duration>,
}

impl<'a> Session<'a> {
    pub(super) fn new(context: &'a Context, replies: Replies) -> Self {
        Self { context, replies, guest: None, environment: Vec::new(), timeout: None }
    }

    /// Answers requests, until there are no more or one is none.
    pub(super) async fn serve(&mut self, requests: &mut Requests) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.replies.send(&Reply::Hello { protocol: PROTOCOL_VERSION, version }).await;
        while let Some(asked) = requests.next().await {
            let gone = requests.gone();
            let broken = asked.is_err();
            let answer = tokio::select! {
                answer = self.answer(asked, requests) => answer,
                () = gone => return,
            };
            let reply = answer.unwrap_or_else(|error| Reply::Failed(error.into()));
            self.replies.send(&reply).await;
            if broken {
                return;
            }
        }
    }

    /// Takes the VM down, if there is one.
    pub(super) async fn end(&mut self) -> Result<(), CommandError> {
        match self.guest.take() {
            Some(guest) => guest.shutdown().await.map(drop).map_err(CommandError::from),
            None => Ok(()),
        }
    }

    async fn answer(
        &mut self,
        asked: io::Result<Asked>,
        requests: &mut Requests,
    ) -> Result<Reply, CommandError> {
        let (request, input) = asked.map_err(|error| CommandError::usage(&error))?;
        match request {
            Request::Start(start) => self.start(start).await,
            Request::Run(run) => self.run(run, input, requests).await,
            Request::Push { host, guest } => {
                self.guest()?.push(Path::new(&host), Path::new(&guest)).await?;
                Ok(Reply::Done)
            }
            Request::Pull { guest, host } => {
                self.guest()?.fetch(Path::new(&guest), Path::new(&host)).await?;
                Ok(Reply::Done)
            }
            // The command it was meant for has just ended.
            Request::Signal { .. } => Ok(Reply::Done),
            Request::Keep => {
                self.guest()?;
                self.guest.take().map(Guest::keep).transpose()?;
                Ok(Reply::Done)
            }
            Request::Shutdown => self.end().await.map(|()| Reply::Done),
        }
    }

    async fn start(&mut self, start: Start) -> Result<Reply, CommandError> {
        if self.guest.is_some() {
            return Err(CommandError::usage("the VM is started already"));
        }
        let wish = Wish {
            flags: flags(&start)?,
            name: start.name,
            rebuild: false,
            may_be_kept: start.may_be_kept,
            program: start.program.map(Into::into),
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
        requests: &mut Requests,
    ) -> Result<Reply, CommandError> {
        let replies = self.replies.clone();
        let timeout = run.timeout_ms.map(Duration::from_millis).or(self.timeout);
        let command = self.command(run);
        let guest = self.guest()?;
        let (stdout, stdout_theirs) = tokio::io::duplex(PIECE);
        let (stderr, stderr_theirs) = tokio::io::duplex(PIECE);
        let streams = Streams {
            stdin: Some(Box::new(io::Cursor::new(input))),
            stdout: Box::new(stdout_theirs),
            stderr: Box::new(stderr_theirs),
        };
        let running = guest.run(command, streams, async || signal(requests).await);
        let passing = async {
            tokio::join!(
                running,
                pass(stdout, Stream::Stdout, &replies),
                pass(stderr, Stream::Stderr, &replies),
            )
        };
        let limit = async {
            match timeout {
                Some(limit) => tokio::time::sleep(limit).await,
                None => pending().await,
            }
        };
        tokio::select! {
            (status, ..) = passing => Ok(Reply::Exited { status: status? }),
            () = limit => Err(CommandError::timed_out(timeout.unwrap_or_default())),
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
        self.guest.as_mut().ok_or_else(|| CommandError::usage("the VM is not started"))
    }
}

/// The settings of a request, by the keys that are known.
fn flags(start: &Start) -> Result<Flags, CommandError> {
    let known = |(name, value): (&String, &String)| {
        Ok((keys::known(name, "the request")?.name, value.clone()))
    };
    start.settings.iter().map(known).collect()
}

/// The next signal for the command under way. Other requests have to wait for its end, and the
/// protocol lets nobody make them before.
async fn signal(requests: &mut Requests) -> &'static str {
    loop {
        match requests.next().await {
            Some(Ok((Request::Signal { name }, _))) => {
                let known = ["HUP", "INT", "QUIT", "KILL", "TERM", "USR1", "USR2"];
                if let Some(name) = known.into_iter().find(|known| *known == name) {
                    return name;
                }
            }
            Some(_) => {}
            None => pending().await,
        }
    }
}

/// Sends on what a command writes.
async fn pass(mut from: impl AsyncRead + Unpin, stream: Stream, replies: &Replies) {
    let mut buffer = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        replies.output(stream, &buffer[..read]).await;
    }
}
