//! One command in one VM, on our own terminal or streams: what `run`, `runner` and `shell` share.

use std::path::PathBuf;
use std::time::Duration;

use banger_lifecycle::exec::GuestCommand;
use banger_lifecycle::machine::Guest;
use banger_protocol::text::plain_json;

use crate::boot::Request;
use crate::cli::TimingsFormat;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;
use crate::interrupt::Interrupts;
use crate::terminal;

/// A command and what is to be done beside it.
pub(crate) struct Errand {
    pub(crate) command: GuestCommand,
    /// Whether it is one that somebody types at, whatever reads what it writes.
    pub(crate) is_shell: bool,
    /// What to bring back, also after a failure.
    pub(crate) fetches: Vec<Fetch>,
    pub(crate) keep: Keep,
    pub(crate) timings: Option<TimingsFormat>,
}

/// When the VM is left running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    Never,
    OnFailure,
    Always,
}

/// A file or directory to bring back.
pub(crate) struct Fetch {
    pub(crate) guest: PathBuf,
    pub(crate) host: PathBuf,
}

impl Errand {
    /// Starts the VM, runs the command, and takes the VM down. Returns the command's status.
    pub(crate) async fn run(
        self,
        request: Request,
        context: &Context,
        mut interrupts: Interrupts,
    ) -> Result<u8, CommandError> {
        let Self { command, is_shell, fetches, keep, timings } = self;
        let timeout = request.settings.timeout;
        let mut guest = tokio::select! {
            guest = request.start(context) => guest?,
            _ = interrupts.next() => return Err(CommandError::interrupted()),
        };
        context.reporter.clear();
        let outcome = command_in(&mut guest, command, is_shell, timeout, &mut interrupts).await;
        let fetched = fetch_all(&mut guest, &fetches, &outcome).await;
        let failed = !matches!(outcome, Ok(0)) || fetched.is_err();
        let ended = if keep == Keep::Always || (keep == Keep::OnFailure && failed) {
            guest.keep().await.map(|name| context.events.note(CommandError::kept(&name)))
        } else if matches!(&outcome, Err(error) if error.code == exit_code::INTERRUPTED) {
            // It may not answer: nothing is asked of it any more.
            drop(guest);
            Ok(())
        } else {
            guest.shutdown().await.map(drop)
        };
        print_timings(timings, context);
        let status = outcome?;
        fetched?;
        ended?;
        Ok(status)
    }
}

/// Runs the command on our streams.
async fn command_in(
    guest: &mut Guest,
    command: GuestCommand,
    is_shell: bool,
    timeout: Option<Duration>,
    interrupts: &mut Interrupts,
) -> Result<u8, CommandError> {
    let (streams, lent) = terminal::streams(is_shell)?;
    let ending = interrupts.clone();
    let running = guest.run(command, streams, async || interrupts.next().await);
    let running = async {
        tokio::select! {
            status = terminal::until_left(lent, running) => {
                status.ok_or_else(CommandError::left)?.map_err(CommandError::from)
            }
            () = ending.overdue() => Err(CommandError::interrupted()),
        }
    };
    within(timeout, running).await
}

/// Awaits a command's end, for so long at most where there is a limit.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    running: impl Future<Output = Result<T, CommandError>>,
) -> Result<T, CommandError> {
    let Some(limit) = limit else { return running.await };
    let ended = tokio::time::timeout(limit, running).await;
    ended.unwrap_or_else(|_| Err(CommandError::timed_out(limit)))
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

fn print_timings(format: Option<TimingsFormat>, context: &Context) {
    match format {
        None => {}
        Some(TimingsFormat::Text) => {
            context
                .reporter
                .with_timings(|timings| tell!("{}", timings.table().trim_end_matches('\n')));
        }
        Some(TimingsFormat::Json) => {
            context
                .reporter
                .with_timings(|timings| tell!("{}", plain_json(&timings.json().to_string())));
        }
    }
}
