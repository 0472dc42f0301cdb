//! Ctrl-C and its kin: the first ends things in order, the second leaves at once.

use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::{exit_code, terminal};

/// How long a command may go on after somebody has asked us to end.
const GRACE: Duration = Duration::from_secs(10);

/// Signals as they arrive.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts {
    seen: watch::Receiver<Vec<Signal>>,
    passed_on: usize,
}

impl Interrupts {
    /// Listens from now on.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let (sender, seen) = watch::channel(Vec::new());
        let kinds = [
            (Signal::INT, SignalKind::interrupt()),
            (Signal::TERM, SignalKind::terminate()),
            (Signal::HUP, SignalKind::hangup()),
        ];
        for (received, kind) in kinds {
            let (mut stream, sender) = (signal(kind)?, sender.clone());
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    sender.send_modify(|seen| seen.push(received));
                    if sender.borrow().len() > 1 {
                        leave();
                    }
                }
            });
        }
        Ok(Self { seen, passed_on: 0 })
    }

    /// The next signal that was not returned before.
    pub(crate) async fn next(&mut self) -> Signal {
        let passed_on = self.passed_on;
        let seen = self.seen.wait_for(|seen| seen.len() > passed_on).await;
        let Ok(seen) = seen else { return std::future::pending().await };
        self.passed_on += 1;
        seen[passed_on]
    }

    /// Resolves some time after a signal that is to end us, in contrast to Ctrl-C, which is the command's
    /// to answer.
    pub(crate) async fn overdue(&self) {
        let mut seen = self.seen.clone();
        let ends = |seen: &Vec<Signal>| seen.iter().any(|signal| *signal != Signal::INT);
        if seen.wait_for(ends).await.is_err() {
            std::future::pending().await
        }
        tokio::time::sleep(GRACE).await;
    }
}

/// Ends this process now. The kernel kills what is tied to us; files wait for the next sweep.
#[expect(clippy::exit, reason = "the second Ctrl-C asks for just this")]
fn leave() {
    terminal::give_back();
    tell!("cargo-banger: left at once; the next `cargo banger` command removes what remains");
    std::process::exit(exit_code::INTERRUPTED.into());
}
