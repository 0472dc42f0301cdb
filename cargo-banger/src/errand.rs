//! One command in one VM, on our own terminal or streams: what `run`, `runner` and `shell` share.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use banger_lifecycle::error::{Cause, Error};
use banger_lifecycle::exec::GuestCommand;
use banger_lifecycle::machine::Guest;
use banger_lifecycle::sync::SyncError;
use banger_protocol::text::plain_json;

use crate::boot::Request;
use crate::cli::TimingsFormat;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;
use crate::interrupt::Interrupts;
use crate::terminal;

/// How long bringing files back may take at least, whatever the time limit.
const LEAST_FETCH: Duration = Duration::from_secs(10);

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
        let mut guest = interrupts.end(request.start(context)).await?;
        context.reporter.clear();
        let began = Instant::now();
        let outcome = command_in(&mut guest, command, is_shell, timeout, &mut interrupts).await;
        let left = timeout.map(|limit| time_to_fetch(limit, began.elapsed()));
        let fetching = fetch_all(&mut guest, &fetches, &outcome, left);
        let fetched = interrupts.end(fetching).await;
        let failed = !matches!(outcome, Ok(0)) || fetched.is_err();
        let was_interrupted =
            was_interrupted(&outcome) || fetched.as_ref().is_err_and(CommandError::is_interruption);
        let ended = if keep == Keep::Always || (keep == Keep::OnFailure && failed) {
            let kept = async { Ok(guest.keep().await?) };
            let kept = interrupts.end(kept).await;
            kept.map(|name| context.events.note(CommandError::kept(&name)))
        } else if was_interrupted {
            // It may not answer: nothing is asked of it any more.
            drop(guest);
            Ok(())
        } else {
            interrupts.end(async { Ok(guest.shutdown().await.map(drop)?) }).await
        };
        print_timings(timings, context);
        let status = outcome?;
        fetched?;
        ended?;
        Ok(status)
    }
}

fn was_interrupted(outcome: &Result<u8, CommandError>) -> bool {
    outcome.as_ref().is_err_and(CommandError::is_interruption)
}

/// How long bringing files back may take where there is a time limit: what the command left of that, but
/// always a while, since that is promised also where the command has used it up.
fn time_to_fetch(limit: Duration, used: Duration) -> Duration {
    limit.saturating_sub(used).max(LEAST_FETCH)
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
    in_time(limit, running, "the command").await
}

async fn in_time<T>(
    limit: Option<Duration>,
    running: impl Future<Output = Result<T, CommandError>>,
    what: &str,
) -> Result<T, CommandError> {
    let Some(limit) = limit else { return running.await };
    let ended = tokio::time::timeout(limit, running).await;
    ended.unwrap_or_else(|_| Err(CommandError::timed_out(what, limit)))
}

/// Brings everything back that was asked for, for so long, also after a command that failed or where one of
/// it does not come, of which the first is told; not from a guest that is lost.
async fn fetch_all(
    guest: &mut Guest,
    fetches: &[Fetch],
    outcome: &Result<u8, CommandError>,
    limit: Option<Duration>,
) -> Result<(), CommandError> {
    if matches!(outcome, Err(error) if error.code != exit_code::TIMED_OUT) {
        return Ok(());
    }
    let fetching = async {
        let mut failed = None;
        for Fetch { guest: from, host: to } in fetches {
            match guest.fetch(from, to).await {
                Ok(()) => {}
                // The next one would fare no better.
                Err(error) if is_fault(&error) => return Err(error.into()),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    };
    in_time(limit, fetching, "bringing files back").await
}

/// Whether the guest's server is what is wrong, and not what it was asked for.
fn is_fault(error: &Error) -> bool {
    matches!(&*error.source, Cause::Sync(SyncError::Server(_)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_command_leaves_of_its_time_is_there_to_bring_files_back() {
        let seconds = Duration::from_secs;
        assert_eq!(time_to_fetch(seconds(60), seconds(20)), seconds(40));
        assert_eq!(time_to_fetch(seconds(60), seconds(55)), LEAST_FETCH);
        assert_eq!(time_to_fetch(seconds(2), seconds(3)), LEAST_FETCH);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_in_time_is_told_by_what_it_is() {
        let never = std::future::pending::<Result<(), CommandError>>();
        let error = in_time(Some(LEAST_FETCH), never, "bringing files back").await.unwrap_err();
        assert_eq!(error.to_string(), "bringing files back did not end within 10s");
        assert_eq!(error.code, exit_code::TIMED_OUT);
    }
}
