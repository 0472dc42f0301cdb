//! Running one test in a VM of its own, from the host.

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};

use banger_protocol::environment;
use banger_protocol::reply::Stream;
use banger_protocol::request::{Request, Run, Start};
use banger_protocol::status;
use banger_protocol::text::shown;
use banger_protocol::verdict::{DESCRIPTOR, Verdict};

use crate::Error;
use crate::case::Case;
use crate::inside;
use crate::output::{self, Output, Print};
use crate::supervisor::{Exit, Supervisor};

/// The variable that leaves the VM of a failing test running.
const KEEP: &str = "BANGER_KEEP_ON_FAILURE";

/// What came of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It ended by itself.
    Told(Verdict),
    /// Its process ended before it did, with this status, and perhaps for this reason.
    Died(u8, Option<String>),
    /// Its VM could not be had, was lost, or had too little time.
    Failed(Error),
}

/// A VM that is up, with all that a test needs in it.
#[derive(Debug)]
pub(crate) struct Lane {
    supervisor: Supervisor,
    name: String,
    program: String,
}

impl Lane {
    /// Starts the VM that a test asks for.
    pub(crate) fn start(case: &Case) -> Result<Self, Error> {
        let directory = Path::new(case.manifest_dir);
        let program = program()?;
        let mut supervisor = Supervisor::launch(directory)?;
        let setting = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let name = supervisor.start(Start {
            settings: case.settings.iter().map(setting).collect(),
            toolchain: false,
            program: Some(program.clone()),
            shared: case.shared.map(str::to_owned),
            may_be_kept: keeps_on_failure(),
            name: None,
        })?;
        for file in case.files {
            supervisor.perform(&push(file, directory))?;
        }
        Ok(Self { supervisor, name, program })
    }

    /// Runs the test, and then ends the VM, or leaves it running after a failure where that is
    /// wanted.
    pub(crate) fn finish(mut self, case: &Case, print: &mut Print<'_>) -> Ending {
        let ending = self.run(case, print);
        let failed = ending.leaves_vm() && !ending.passes(case);
        match self.end(failed, print) {
            // What is lost already cannot be ended; why is known.
            Err(error) if !matches!(ending, Ending::Failed(_)) => Ending::Failed(error),
            _ => ending,
        }
    }

    fn run(&mut self, case: &Case, print: &mut Print<'_>) -> Ending {
        let token = token();
        let mut output = Output::new(&token);
        let run = self.command(case, &token);
        let exit =
            self.supervisor.run(run, &[], &mut |stream, bytes| output.take(stream, bytes, print));
        let begun = output.finish(print);
        match exit {
            Err(error) => Ending::Failed(error),
            // Status 0 alone is what the harness ends with, whether or not it ran our test; and who died of
            // something after its verdict has not ended well.
            Ok(Exit { status: 0, verdict: Some(verdict), .. }) => Ending::Told(verdict),
            Ok(Exit { status: 0, .. }) if !begun => Ending::Failed(not_begun(case)),
            Ok(Exit { status, note, .. }) => Ending::Died(status, note),
        }
    }

    fn end(mut self, failed: bool, print: &mut Print<'_>) -> Result<(), Error> {
        let Self { supervisor, name, .. } = &mut self;
        if !failed {
            return supervisor.perform(&Request::Shutdown);
        }
        if keeps_on_failure() {
            supervisor.perform(&Request::Keep)?;
            let text = format!(
                "banger: VM {name} stays: `cargo banger shell {name}` enters it, `cargo banger stop {name}` ends it\n"
            );
            print(Stream::Stderr, &text);
            return Ok(());
        }
        let text = format!(
            "banger: failed in VM {name}; with {KEEP}=1 it stays, for `cargo banger shell`\n"
        );
        print(Stream::Stderr, &text);
        supervisor.perform(&Request::Shutdown)
    }

    fn command(&self, case: &Case, token: &str) -> Run {
        // Two threads, so that the test's has its name, which panic messages begin with.
        let flags =
            ["--exact", case.name(), "--include-ignored", "--nocapture", "--test-threads=2"];
        let argv = [self.program.as_str()].into_iter().chain(flags).map(str::to_owned).collect();
        let passed = environment::passed(std::env::vars_os())
            .filter_map(|(name, value)| Some((name, value.into_string().ok()?)));
        let own = case.env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let env = passed.chain(own);
        let value = format!("{DESCRIPTOR} {token}");
        Run {
            argv,
            directory: Some(case.manifest_dir.to_owned()),
            env: env.chain([(inside::VARIABLE.to_owned(), value)]).collect(),
            user: case.user.map(str::to_owned),
            timeout_ms: case.timeout_ms,
            input: 0,
            tells_verdict: true,
        }
    }
}

impl Ending {
    /// Whether there is still a VM to be looked at.
    fn leaves_vm(&self) -> bool {
        match self {
            Self::Told(_) | Self::Died(..) => true,
            Self::Failed(error) => error.is_timeout(),
        }
    }

    /// Whether the test passes with it.
    pub(crate) fn passes(&self, case: &Case) -> bool {
        match (self, case.should_panic) {
            (Self::Told(Verdict::Skipped(_)), _) => true,
            (Self::Told(Verdict::Returned(status)), None) => *status == 0,
            (Self::Told(Verdict::Panicked(message)), Some(expected)) => message.contains(expected),
            _ => false,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told(Verdict::Returned(status)) => write!(f, "the test returned status {status}"),
            Self::Told(Verdict::Panicked(message)) => f.write_str(&shown(message)),
            Self::Told(Verdict::Skipped(reason)) => write!(f, "skipped: {}", shown(reason)),
            Self::Died(status, note) => {
                let how = status::describe(*status);
                write!(f, "the test's process {how} before the test ended")?;
                note.as_ref().map_or(Ok(()), |note| write!(f, "; {}", shown(note)))
            }
            Self::Failed(error) => error.fmt(f),
        }
    }
}

/// Runs a test in a VM of its own.
pub(crate) fn run(case: &Case) -> Ending {
    match Lane::start(case) {
        Ok(lane) => output::printing(|print| lane.finish(case, print)),
        Err(error) => Ending::Failed(error),
    }
}

fn keeps_on_failure() -> bool {
    std::env::var(KEEP).is_ok_and(|value| !["", "0", "false"].contains(&value.as_str()))
}

/// This very program.
fn program() -> Result<String, Error> {
    let path = std::env::current_exe().map_err(|error| unusable(&error.to_string()))?;
    let path = path.into_os_string().into_string();
    path.map_err(|path| unusable(&format!("`{}` is not UTF-8", path.display())))
}

fn unusable(why: &str) -> Error {
    Error::Unavailable { message: format!("cannot tell where this test's program is: {why}") }
}

fn not_begun(case: &Case) -> Error {
    let name = case.name();
    let message = format!("the program in the guest ended without running a test `{name}`");
    Error::Unavailable { message }
}

/// `HOST` or `HOST:GUEST`, the former relative to the package.
fn push(file: &str, directory: &Path) -> Request {
    let (host, guest) = match file.split_once(':') {
        Some((host, guest)) => (directory.join(host), PathBuf::from(guest)),
        None => (directory.join(file), directory.join(file)),
    };
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    Request::Push { host: text(host), guest: text(guest) }
}

/// Something that nobody can guess: the standard library seeds its hashers at random.
fn token() -> String {
    let random = || RandomState::new().hash_one(std::process::id());
    format!("banger-{:016x}{:016x}", random(), random())
}
