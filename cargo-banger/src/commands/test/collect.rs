//! Which executables `cargo test` would run, and how: cargo itself is asked to run them, with
//! ourselves as the runner that writes down what it is given.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::ExitStatus;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;

use super::{Targets, doc_tests};
use crate::cli::{CollectArgs, TestArgs};
use crate::context::Context;
use crate::env;
use crate::error::CommandError;
use crate::exit_code;

/// What rustdoc calls the programs that it makes of doc tests.
const DOC_TEST: &str = "rust_out";

/// How cargo would run one executable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) program: Utf8PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) directory: Utf8PathBuf,
    pub(super) env: Vec<(String, String)>,
}

/// What came of asking cargo.
pub(super) enum Collected {
    /// Cargo ended with this status before there was anything to run.
    Not(u8),
    /// What to run, and whether the doc tests, which have run by now, passed.
    Suites(Vec<Call>, bool),
}

/// Has cargo build what it would test, and tell how it would run it.
pub(super) async fn from_cargo(
    args: &TestArgs,
    context: &Context,
) -> Result<Collected, CommandError> {
    let (cargo_args, test_args) = args.split();
    let checked = (Targets::check(cargo_args, context), doc_tests::check(cargo_args, context));
    let (targets, ()) = tokio::try_join!(checked.0, checked.1)?;
    // Doc tests are built as they are run; cargo refuses to do one without the other.
    if !cargo_args.iter().any(|argument| argument == "--doc") {
        let mut build = cargo(context, cargo_args);
        let built = status(build.arg("--no-run")).await?;
        if !built.success() {
            return Ok(Collected::Not(code(built)));
        }
    }
    let (reader, writer) = std::io::pipe()?;
    let mut run = cargo(context, cargo_args);
    if !cargo_args.iter().any(|argument| argument == "--no-fail-fast") {
        run.arg("--no-fail-fast");
    }
    run.arg("--").args(test_args);
    let to = format!("/proc/{}/fd/{}", std::process::id(), writer.as_raw_fd());
    run.envs(targets.variables(&["collect", &to], &args.vm.flags())?);
    run.stderr(std::process::Stdio::piped());
    rustix::io::ioctl_fionbio(&reader, true).map_err(std::io::Error::from)?;
    let mut reader = Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let mut text = Vec::new();
    let running = async {
        let output = run.output().await.map_err(no_cargo);
        drop(writer);
        output
    };
    let (output, read) = tokio::join!(running, reader.read_to_end(&mut text));
    let output = output?;
    std::io::stdout().write_all(&output.stdout)?;
    read?;
    if !output.status.success() {
        print_errors(&output.stderr);
    }
    let calls = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let calls = calls.map(serde_json::from_slice).collect::<Result<Vec<Call>, _>>();
    Ok(Collected::Suites(calls.map_err(std::io::Error::from)?, output.status.success()))
}

fn cargo(context: &Context, args: &[OsString]) -> Command {
    let mut command = Command::new(&context.cargo);
    command.arg("test").args(args).current_dir(&context.directory).kill_on_drop(true);
    command
}

async fn status(command: &mut Command) -> Result<ExitStatus, CommandError> {
    command.status().await.map_err(no_cargo)
}

fn no_cargo(error: std::io::Error) -> CommandError {
    CommandError::new("cannot run cargo", exit_code::HOST_NOT_READY).caused_by(&error)
}

/// What cargo says of executables that it only seems to run is left out.
fn print_errors(stderr: &[u8]) {
    let text = String::from_utf8_lossy(stderr);
    let of_no_use = ["Running ", "Finished ", "Compiling "];
    let useful = |line: &&str| !of_no_use.iter().any(|start| line.trim_start().starts_with(start));
    text.lines().filter(useful).for_each(|line| tell!("{line}"));
}

fn code(status: ExitStatus) -> u8 {
    status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(super::FAILED)
}

/// `cargo banger collect`: stands in for the executable that cargo runs.
pub(crate) fn collect(args: CollectArgs, context: &Context) -> Result<u8, CommandError> {
    let program = context.directory.join(&args.program);
    if is_doc_test(&program) {
        return Err(run_in_vm(&program, &args.arguments));
    }
    let text = |argument: OsString| {
        argument.into_string().map_err(|argument| {
            CommandError::usage(format!("`{}` is not UTF-8", argument.display()))
        })
    };
    let call = Call {
        program,
        arguments: args.arguments.into_iter().map(text).collect::<Result<_, _>>()?,
        directory: context.directory.clone(),
        env: env::for_programs()
            .filter_map(|(name, value)| Some((name, value.into_string().ok()?)))
            .collect(),
    };
    let mut line = serde_json::to_vec(&call).map_err(std::io::Error::from)?;
    line.push(b'\n');
    let mut to = fs_err::OpenOptions::new().write(true).open(args.to)?;
    to.write_all(&line)?;
    Ok(0)
}

/// Whether an executable is one that rustdoc made of doc tests.
pub(crate) fn is_doc_test(program: &Utf8Path) -> bool {
    program.file_name() == Some(DOC_TEST)
}

/// Becomes the runner; returns only if that fails.
fn run_in_vm(program: &Utf8Path, arguments: &[OsString]) -> CommandError {
    let own = std::env::current_exe().unwrap_or_else(|_| "cargo-banger".into());
    let mut command = std::process::Command::new(own);
    let error = command.args(["banger", "runner"]).arg(program).args(arguments).exec();
    CommandError::from(error)
}
