//! The `cargo-banger` child that supervises one VM for us, and what is said to it.
//!
//! The child is in a process group of its own: whoever kills ours, be it Ctrl-C or a runner's
//! timeout, leaves it the time to see that we are gone and to take the VM down.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use banger_protocol::reply::{Failure, Reply, Stream};
use banger_protocol::request::{Request, Run, Start};
use banger_protocol::text::shown;
use banger_protocol::verdict::Verdict;
use banger_protocol::{PROTOCOL_VERSION, frame};

use crate::Error;

/// The variable that names the program, where it is not on `PATH`.
const VARIABLE: &str = "BANGER_BIN";
const PROGRAM: &str = "cargo-banger";

/// A child and our ends of its pipes. Dropping it has the child take its VM down, and waits for it.
#[derive(Debug)]
pub(crate) struct Supervisor {
    child: Child,
    /// `None` once we have hung up.
    requests: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Exit {
    /// Its exit status.
    pub(crate) status: u8,
    /// What else is known of why.
    pub(crate) note: Option<String>,
    /// The verdict that it told.
    pub(crate) verdict: Option<Verdict>,
}

impl Supervisor {
    /// Starts the child in a directory of the workspace, and sees that it speaks our language.
    pub(crate) fn launch(directory: &Path) -> Result<Self, Error> {
        let program = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
        let program = program.unwrap_or_else(|| PROGRAM.into());
        let mut command = Command::new(&program);
        command.args(["banger", "supervise"]).process_group(0);
        if directory.is_dir() {
            command.current_dir(directory);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|source| Error::missing(&program, &source))?;
        let requests = child.stdin.take();
        let replies = child.stdout.take().map(BufReader::new);
        let replies = replies.expect("standard output was asked to be a pipe");
        let mut this = Self { child, requests, replies };
        match frame::read(&mut this.replies) {
            Ok(Some(Reply::Hello { protocol: PROTOCOL_VERSION, .. })) => Ok(this),
            Ok(Some(Reply::Hello { protocol, version })) => {
                Err(Error::version(&program, protocol, &version))
            }
            _ => Err(Error::no_supervisor(&program, this.last_words().as_deref())),
        }
    }

    /// Starts the VM, and returns its name.
    pub(crate) fn start(&mut self, start: Start) -> Result<String, Error> {
        self.ask(&Request::Start(start), &[])?;
        match self.answer(&mut |_, _| {})? {
            Reply::Started { name } => Ok(name),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a command to its end and returns how that was; `output` gets what it writes.
    pub(crate) fn run(
        &mut self,
        run: Run,
        input: &[u8],
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<Exit, Error> {
        let run = Run { input: input.len() as u64, ..run };
        self.ask(&Request::Run(run), input)?;
        match self.answer(output)? {
            Reply::Exited { status, note, verdict } => Ok(Exit { status, note, verdict }),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks for something that has no result.
    pub(crate) fn perform(&mut self, request: &Request) -> Result<(), Error> {
        self.ask(request, &[])?;
        match self.answer(&mut |_, _| {})? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&mut self, request: &Request, bytes: &[u8]) -> Result<(), Error> {
        let Some(to) = &mut self.requests else { return Err(Error::ended(None)) };
        let mut message = frame::line(request);
        message.extend(bytes);
        // Where the child has ended, its last words say why.
        to.write_all(&message).map_err(|_| Error::ended(self.last_words()))
    }

    /// Reads replies up to the one that answers.
    fn answer(&mut self, output: &mut dyn FnMut(Stream, &[u8])) -> Result<Reply, Error> {
        loop {
            match frame::read(&mut self.replies) {
                Ok(Some(Reply::Told { text })) => tell(text),
                Ok(Some(Reply::Output { stream, bytes })) => self.pass(stream, bytes, output)?,
                Ok(Some(Reply::Failed(failure))) => return Err(Error::Failed(failure)),
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) | Err(_) => return Err(Error::ended(self.last_words())),
            }
        }
    }

    /// Passes on so many bytes of output, piece by piece.
    fn pass(
        &mut self,
        stream: Stream,
        mut left: u64,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Result<(), Error> {
        while left > 0 {
            let piece = self.replies.fill_buf().unwrap_or_default();
            let length = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if length == 0 {
                return Err(Error::ended(self.last_words()));
            }
            output(stream, &piece[..length]);
            self.replies.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    /// What a child that has closed its output wrote to standard error.
    fn last_words(&mut self) -> Option<String> {
        self.requests = None;
        let mut text = String::new();
        self.child.stderr.take()?.read_to_string(&mut text).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.requests = None;
        // It ends when it has taken the VM down; each step of that has a limit of its own.
        drop(self.child.wait());
    }
}

/// Says on standard error, past the test harness, what takes long or is amiss: once a process.
fn tell(text: String) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.contains(&text) {
        return;
    }
    // Not `eprintln`, which the harness captures and shows only of tests that fail.
    drop(writeln!(std::io::stderr(), "banger: {}", shown(&text)));
    told.insert(text);
}

fn unexpected(reply: &Reply) -> Error {
    let message = format!("cargo-banger answered with something else: {reply:?}");
    Error::Failed(Failure { code: 249, message, ..Failure::default() })
}
