//! Ctrl-C and its kin: the first ends things in order, the second leaves at once.
//!
//! ```text
//! a command runs:   Ctrl-C ─► the command;  SIGTERM, SIGHUP ─► the command, and in ten seconds the run
//! all other stages: any of them ─► the run, at once: what is under way is dropped
//! ```

use std::io;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use rustix::stdio::stderr;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::error::CommandError;
use crate::{exit_code, terminal};

/// How long a command may go on after somebody has asked us to end.
const GRACE: Duration = Duration::from_secs(10);

/// Signals as they arrive.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts {
    seen: watch::Receiver<Vec<(Signal, Instant)>>,
    passed_on: usize,
}

impl Interrupts {
    /// Listens from now on, on a thread of its own: a second signal is heard also where this one waits
    /// for something that cannot be interrupted.
    pub(crate) fn listen() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let kinds = [
            (Signal::INT, SignalKind::interrupt()),
            (Signal::TERM, SignalKind::terminate()),
            (Signal::HUP, SignalKind::hangup()),
        ];
        let (heard, mut hearing) = mpsc::channel(kinds.len());
        let here = runtime.enter();
        for (received, kind) in kinds {
            let (mut stream, heard) = (signal(kind)?, heard.clone());
            runtime.spawn(async move {
                while stream.recv().await.is_some() {
                    heard.send(received).await.ok();
                }
            });
        }
        drop(here);
        let (sender, seen) = watch::channel(Vec::new());
        let listening = async move {
            while let Some(received) = hearing.recv().await {
                sender.send_modify(|seen| seen.push((received, Instant::now())));
                if sender.borrow().len() > 1 {
                    leave();
                }
            }
        };
        // Nobody waits for it.
        drop(thread::Builder::new().spawn(move || runtime.block_on(listening))?);
        Ok(Self { seen, passed_on: 0 })
    }

    /// The next signal that was not returned before.
    pub(crate) async fn next(&mut self) -> Signal {
        let passed_on = self.passed_on;
        let seen = self.seen.wait_for(|seen| seen.len() > passed_on).await;
        let Ok(seen) = seen else { return std::future::pending().await };
        self.passed_on += 1;
        seen[passed_on].0
    }

    /// Resolves some time after a signal that is to end us, in contrast to Ctrl-C, which is the command's
    /// to answer.
    pub(crate) async fn overdue(&self) {
        let mut seen = self.seen.clone();
        let ends = |(signal, _): &&(Signal, Instant)| *signal != Signal::INT;
        let since = match seen.wait_for(|seen| seen.iter().any(|seen| ends(&seen))).await {
            Ok(seen) => seen.iter().find(ends).map(|(_, since)| *since),
            Err(_) => None,
        };
        match since {
            Some(since) => sleep_until(since + GRACE).await,
            None => std::future::pending().await,
        }
    }

    /// Awaits something beside which no command runs: the next signal ends it, and one that was passed on
    /// to a command when its time is up. What it was about is dropped then.
    pub(crate) async fn end<T>(
        &mut self,
        work: impl Future<Output = Result<T, CommandError>>,
    ) -> Result<T, CommandError> {
        let overdue = self.clone();
        tokio::select! {
            biased;
            done = work => done,
            _ = self.next() => Err(CommandError::interrupted()),
            () = overdue.overdue() => Err(CommandError::interrupted()),
        }
    }
}

/// Ends this process now. The kernel kills what is tied to us; files wait for the next sweep.
#[expect(clippy::exit, reason = "the second Ctrl-C asks for just this")]
fn leave() {
    terminal::give_back();
    let text = "cargo-banger: left at once; the next `cargo banger` command removes what remains\n";
    // Nobody may be reading, or somebody else of us be about to write.
    let ready = poll(&mut [PollFd::new(&stderr(), PollFlags::OUT)], Some(&Timespec::default()));
    if ready.is_ok_and(|ready| ready > 0) {
        rustix::io::write(stderr(), text.as_bytes()).ok();
    }
    std::process::exit(exit_code::INTERRUPTED.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Signals that we send.
    fn scripted() -> (watch::Sender<Vec<(Signal, Instant)>>, Interrupts) {
        let (sender, seen) = watch::channel(Vec::new());
        (sender, Interrupts { seen, passed_on: 0 })
    }

    fn send(sender: &watch::Sender<Vec<(Signal, Instant)>>, signal: Signal) {
        sender.send_modify(|seen| seen.push((signal, Instant::now())));
    }

    async fn never() -> Result<(), CommandError> {
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_signal_ends_what_is_no_command() {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let (sender, mut interrupts) = scripted();
            let began = Instant::now();
            let ended = interrupts.end(never());
            let (ended, ()) = tokio::join!(ended, async { send(&sender, signal) });
            assert_eq!(ended.unwrap_err().code, exit_code::INTERRUPTED);
            assert_eq!(began.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_went_to_the_command_ends_the_rest_when_its_time_is_up() {
        let (sender, mut interrupts) = scripted();
        let began = Instant::now();
        send(&sender, Signal::TERM);
        assert_eq!(interrupts.next().await, Signal::TERM);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(interrupts.end(never()).await.is_err());
        assert_eq!(began.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn ctrl_c_that_went_to_the_command_does_not_end_what_follows() {
        let (sender, mut interrupts) = scripted();
        send(&sender, Signal::INT);
        interrupts.next().await;
        let waiting = tokio::time::timeout(Duration::from_secs(600), interrupts.end(never()));
        assert!(waiting.await.is_err());
        assert_eq!(interrupts.end(async { Ok(7) }).await.unwrap(), 7);
    }
}
