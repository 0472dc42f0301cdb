//! One file a command.

pub(crate) mod config;
pub(crate) mod doctor;
mod gate;
pub(crate) mod gc;
pub(crate) mod image;
pub(crate) mod init;
mod listing;
pub(crate) mod manual;
mod nat;
pub(crate) mod nextest;
pub(crate) mod run;
pub(crate) mod runner;
mod setup;
pub(crate) mod shell;
mod targets;
pub(crate) mod template;
pub(crate) mod test;
pub(crate) mod vms;
mod vsock;

use std::io::ErrorKind;
use std::process::ExitCode;

use banger_lifecycle::host::SurveyInput;
use banger_lifecycle::image::ImageStore;
use banger_lifecycle::spec::VmName;
use banger_lifecycle::vmm::firecracker::release;
use banger_lifecycle::vmm::keep_logs;
use banger_protocol::text::plain_json;
use tracing_subscriber::EnvFilter;

use crate::cli::{Banger, Command};
use crate::context::Context;
use crate::env;
use crate::error::CommandError;
use crate::exit_code;
use crate::report::{Reporter, Verbosity};
use crate::settings::variable;
use crate::supervise;

/// Parses the command line, runs the command and reports its error.
pub(crate) fn main() -> ExitCode {
    let banger = match Banger::parse_from(std::env::args_os()) {
        Ok(banger) => banger,
        Err(error) => {
            let asked = !error.use_stderr();
            let printed = error.print();
            let code = if asked && printed.is_ok() { 0 } else { exit_code::USAGE };
            return ExitCode::from(code);
        }
    };
    let reporter = Reporter::new(verbosity(&banger));
    start_log(banger.verbose);
    let outcome = Context::new(reporter.clone()).and_then(|context| execute(banger, &context));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            reporter.error(&error);
            ExitCode::from(error.code)
        }
    }
}

/// Runs the command on this thread: child processes are tied to the thread that starts them.
fn execute(banger: Banger, context: &Context) -> Result<u8, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(dispatch(banger.command, context));
    // A read of standard input may be waiting still; nobody waits for it.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: Command, context: &Context) -> Result<u8, CommandError> {
    if let Some(makes) = uses_files(&command) {
        context.secure(makes)?;
    }
    match command {
        Command::Run(args) => run::run(args, context).await,
        Command::Shell(args) => shell::shell(args, context).await,
        Command::Image { command } => image::image(command, context).await,
        Command::Template { command } => template::template(&command, context),
        Command::Runner(args) => runner::runner(args, context).await,
        Command::Test(args) => test::test(args, context).await,
        Command::Nextest(args) => nextest::nextest(args, context).await,
        Command::Collect(args) => test::collect(args, context),
        Command::Init(args) => init::init(args, context).await,
        Command::Supervise(args) => supervise::supervise(args, context).await,
        Command::Gate { reach } => gate::run(&reach),
        Command::Vsock { socket, port } => vsock::vsock(&socket, port).await,
        Command::KeepLogs { gone } => Ok(keep_logs(&gone).map(|()| 0)?),
        Command::Setup(args) => setup::setup(&args, context).await,
        Command::Doctor(args) => examine(&args, context),
        Command::Ps(args) => vms::ps(&args, context).await,
        Command::Stop { names } => vms::stop(&names, context).await,
        Command::Nat { command } => nat::nat(&command, context),
        Command::Gc(args) => gc::gc(&args, context).await,
        Command::Config(args) => config::config(&args, context).await,
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { directory } => manual::pages(&directory),
    }
}

/// Whether a command looks into banger's directories, and if so, whether it puts things there.
const fn uses_files(command: &Command) -> Option<bool> {
    match command {
        Command::Setup(_) | Command::Image { .. } => Some(true),
        Command::Template { .. }
        | Command::Shell(_)
        | Command::Doctor(_)
        | Command::Ps(_)
        | Command::Stop { .. }
        | Command::Nat { .. }
        | Command::Gc(_) => Some(false),
        // Those that start VMs check when they have read their settings.
        Command::Run(_)
        | Command::Runner(_)
        | Command::Supervise(_)
        | Command::Test(_)
        | Command::Nextest(_)
        | Command::Collect(_)
        | Command::Init(_)
        | Command::Vsock { .. }
        | Command::KeepLogs { .. }
        | Command::Gate { .. }
        | Command::Config(_)
        | Command::Completions { .. }
        | Command::Man { .. } => None,
    }
}

/// Says what the host lacks; the exit status tells whether `run` can work.
fn examine(args: &doctor::Args, context: &Context) -> Result<u8, CommandError> {
    let mut input = SurveyInput::new(context.path.clone(), context.layout.cache().to_owned());
    let installed = release::place(&context.layout, "");
    let path = context.path.iter().flat_map(std::env::split_paths);
    input.path = std::env::join_paths(path.chain([installed.into()])).ok();
    input.vmm = env::read(variable("vmm")).and_then(|vmm| vmm.to_str()?.parse().ok());
    let images = ImageStore::new(&context.layout, context.events.clone()).list();
    input.image_ready = images.is_ok_and(|images| images.iter().any(|i| i.damage.is_none()));
    input.proxied = ["http_proxy", "https_proxy", "all_proxy"]
        .iter()
        .any(|name| env::read(name).or_else(|| env::read(&name.to_uppercase())).is_some());
    match doctor::run(args, &input, &mut anstream::stdout()) {
        Ok(true) => Ok(0),
        Ok(false) => Ok(exit_code::HOST_NOT_READY),
        Err(doctor::DoctorError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
        Err(error) => {
            let hint = error.hint();
            Err(CommandError::new(&error, exit_code::HOST_NOT_READY).hint(hint))
        }
    }
}

fn verbosity(banger: &Banger) -> Verbosity {
    match (banger.quiet, banger.verbose) {
        (true, _) => Verbosity::Quiet,
        (false, 0) => Verbosity::Normal,
        (false, _) => Verbosity::Verbose,
    }
}

/// The log of the library, for `-vv` and more.
fn start_log(verbose: u8) {
    let filter = match verbose {
        0 | 1 => "error",
        2 => "warn,banger_lifecycle=debug",
        _ => "debug",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .init();
}

/// The name of a VM, as somebody gave it.
fn vm_name(text: &str) -> Result<VmName, CommandError> {
    text.parse().map_err(|error| CommandError::usage(&error))
}

/// Prints one JSON value on standard output.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<u8, CommandError> {
    let text = serde_json::to_string_pretty(value).map_err(std::io::Error::from)?;
    anstream::println!("{}", plain_json(&text));
    Ok(0)
}
