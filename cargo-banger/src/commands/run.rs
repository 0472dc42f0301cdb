//! `cargo banger run`: one command in a throwaway VM.

use std::ffi::{OsStr, OsString};
use std::future::pending;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_lifecycle::exec::{GuestCommand, Streams};
use banger_lifecycle::machine::Guest;

use crate::boot::Request;
use crate::cli::{RunArgs, TimingsFormat};
use crate::context::Context;
use crate::env;
use crate::error::CommandError;
use crate::exit_code;
use crate::interrupt::Interrupts;
use crate::settings::Flags;

/// A file or directory to bring back.
struct Fetch {
    guest: PathBuf,
    host: PathBuf,
}

pub(crate) async fn run(args: RunArgs, context: &Context) -> Result<u8, CommandError> {
    let mut interrupts = Interrupts::listen()?;
    let fetches = args.out.iter().map(|out| fetch(out, context)).collect::<Result<Vec<_>, _>>()?;
    let mut flags = Flags::new();
    flags.extend(args.timeout.clone().map(|timeout| ("timeout", timeout)));
    let may_be_kept = args.keep || args.keep_on_failure;
    let mut request = Request::check(context, &args.vm, flags, may_be_kept).await?;
    if runs_cargo(&args.command) {
        request.expect_cargo();
    }
    let command = GuestCommand::new(args.command.clone())
        .directory(request.directory(context))
        .environment(environment(&request));
    let timeout = request.settings.timeout;
    let mut guest = tokio::select! {
        guest = request.start(context) => guest?,
        _ = interrupts.next() => return Err(CommandError::interrupted()),
    };
    context.reporter.clear();
    let outcome = command_in(&mut guest, command, timeout, &mut interrupts).await;
    let fetched = fetch_all(&mut guest, &fetches, &outcome).await;
    let failed = !matches!(outcome, Ok(0)) || fetched.is_err();
    let ended = if args.keep || (args.keep_on_failure && failed) {
        guest.keep().map(|name| {
            context.events.note(format!(
                "{name} stays: `cargo banger shell {name}` enters it, `cargo banger stop {name}` ends it"
            ));
        })
    } else {
        guest.shutdown().await.map(drop)
    };
    print_timings(args.timings, context);
    let status = outcome?;
    fetched?;
    ended?;
    Ok(status)
}

/// Runs the command on the terminal where there is one, else over pipes.
async fn command_in(
    guest: &mut Guest,
    command: GuestCommand,
    timeout: Option<Duration>,
    interrupts: &mut Interrupts,
) -> Result<u8, CommandError> {
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let running = async {
        if terminal {
            return guest.run_on_terminal(command).await;
        }
        let streams = Streams {
            stdin: Some(Box::new(tokio::io::stdin())),
            stdout: Box::new(tokio::io::stdout()),
            stderr: Box::new(tokio::io::stderr()),
        };
        guest.run(command, streams, async || interrupts.next().await).await
    };
    let limit = async {
        match timeout {
            Some(limit) => tokio::time::sleep(limit).await,
            None => pending().await,
        }
    };
    tokio::select! {
        status = running => Ok(status?),
        () = limit => {
            let limit = humantime::format_duration(timeout.unwrap_or_default());
            let message = format!("the command did not end within {limit}");
            Err(CommandError::new(message, exit_code::TIMED_OUT))
        }
    }
}

/// Brings everything back that was asked for, also after a command that failed; not from a guest
/// that is lost.
async fn fetch_all(
    guest: &mut Guest,
    fetches: &[Fetch],
    outcome: &Result<u8, CommandError>,
) -> Result<(), CommandError> {
    if matches!(outcome, Err(error) if error.code != exit_code::TIMED_OUT) {
        return Ok(());
    }
    for Fetch { guest: from, host: to } in fetches {
        guest.fetch(from, to).await?;
    }
    Ok(())
}

/// `GUEST:HOST`, each relative to the directory we were called in.
fn fetch(text: &str, context: &Context) -> Result<Fetch, CommandError> {
    match text.rsplit_once(':') {
        Some((guest, host)) if !guest.is_empty() && !host.is_empty() => {
            let here = context.directory.as_std_path();
            Ok(Fetch { guest: here.join(guest), host: here.join(host) })
        }
        _ => {
            let expected = "expected GUEST:HOST, such as target/report.xml:report.xml";
            Err(CommandError::usage(format!("out: `{text}` is not valid: {expected}")))
        }
    }
}

/// What the command sees beside the guest's own variables.
pub(crate) fn environment(request: &Request) -> Vec<(String, OsString)> {
    let passed = env::PASSED.iter().filter_map(|name| Some(((*name).to_owned(), env::read(name)?)));
    passed.chain(request.settings.env.iter().cloned()).collect()
}

/// Whether the command compiles.
fn runs_cargo(command: &[OsString]) -> bool {
    let program = command.first().and_then(|program| Path::new(program).file_name());
    matches!(program.and_then(OsStr::to_str), Some("cargo" | "rustc"))
}

fn print_timings(format: Option<TimingsFormat>, context: &Context) {
    match format {
        None => {}
        Some(TimingsFormat::Text) => {
            context.reporter.with_timings(|timings| anstream::eprint!("{}", timings.table()));
        }
        Some(TimingsFormat::Json) => {
            context.reporter.with_timings(|timings| anstream::eprintln!("{}", timings.json()));
        }
    }
}
