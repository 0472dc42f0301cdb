//! `cargo banger runner`: an executable of the host in a throwaway VM, as if it ran here. Cargo and
//! nextest start tests, benches and programs through it where their configuration says so.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use banger_lifecycle::exec::GuestCommand;

use super::listing::{self, Call, Question};
use super::test::is_doc_test;
use crate::boot::{Request, Wish};
use crate::cli::RunnerArgs;
use crate::context::Context;
use crate::env;
use crate::errand::Errand;
use crate::error::CommandError;
use crate::interrupt::Interrupts;

/// Where a program of several doc tests finds itself, to run each in a process of its own.
const DOC_TESTS: &str = "RUSTDOC_DOCTEST_BIN_PATH";

pub(crate) async fn runner(args: RunnerArgs, context: &Context) -> Result<u8, CommandError> {
    let program = context.directory.join(&args.program);
    let mut interrupts = Interrupts::listen()?;
    let by_nextest = env::read(env::NEXTEST_RUN_ID).is_some();
    if let Some(question) = Question::of(&program, &args.arguments, by_nextest) {
        let answering = answer(&question, &args, context);
        let answered = tokio::select! {
            answered = answering => answered?,
            _ = interrupts.next() => return Err(CommandError::interrupted()),
        };
        if let Some(status) = answered {
            return Ok(status);
        }
    }
    let whole = listing::instead_of(&program, &args.arguments, context)?;
    let mut wish = Wish {
        program: Some(program.clone()),
        // As nextest and editors ask for one test.
        single_test: args.arguments.iter().any(|argument| argument == "--exact"),
        toolchain: false,
        builds: false,
        ..Wish::of(&args.vm)
    };
    wish.flags.extend(args.limits.flags());
    let request = interrupts.end(Request::check(context, wish)).await?;
    let own = request.settings.env.iter().cloned();
    let mut environment: Vec<_> = env::for_programs().chain(own).collect();
    if is_doc_test(&program) {
        // rustdoc leaves it out where there is a runner, and many doc tests in one program would
        // then run in one process.
        environment.push((DOC_TESTS.to_owned(), program.clone().into()));
    }
    let arguments = whole.unwrap_or(args.arguments);
    let argv = [OsString::from(program)].into_iter().chain(arguments).collect();
    let command = GuestCommand::new(argv).directory(request.directory()).environment(environment);
    let keep = request.keep_on_failure();
    let errand = Errand { command, is_shell: false, fetches: Vec::new(), keep, timings: None };
    let status = errand.run(request, context, interrupts).await?;
    end_like(status)
}

/// Ends this process as the program in the guest ended: cargo and nextest tell signals from
/// statuses. Returns the status where that was no signal.
fn end_like(status: u8) -> Result<u8, CommandError> {
    const DEADLY: [u8; 8] = [4, 5, 6, 7, 8, 9, 11, 13];
    let signal = status.checked_sub(128).filter(|signal| DEADLY.contains(signal));
    let Some(signal) = signal else { return Ok(status) };
    // A shell has the default way with signals, which this process has changed.
    let script = format!("ulimit -c 0; kill -{signal} $$; exit {status}");
    Err(Command::new("sh").args(["-c", &script]).exec().into())
}

/// Says what tests an executable has; `None` where it has to say so itself.
async fn answer(
    question: &Question,
    args: &RunnerArgs,
    context: &Context,
) -> Result<Option<u8>, CommandError> {
    let mut flags = args.vm.flags();
    flags.extend(args.limits.flags());
    let call = Call {
        program: context.directory.join(&args.program),
        arguments: question.arguments.clone(),
        env: env::for_programs().collect(),
    };
    let Some(list) = listing::answer(question, call, &flags, context).await? else {
        return Ok(None);
    };
    context.reporter.clear();
    match std::io::stdout().write_all(list.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Some(0)),
    }
}
