//! Our own streams, lent to a command in the guest; our terminal as its terminal.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use banger_lifecycle::exec::terminal::Size;
use banger_lifecycle::exec::{Streams, Terminal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios};
use rustix::termios::{tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt as _, DuplexStream, Interest};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::env;

/// How many bytes may have been typed that the command has not read yet.
const TYPED_AHEAD: usize = 1 << 20;

/// What a terminal was like before it was lent; for whoever leaves in the middle of that too.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// A terminal that is lent. Dropping it gives it back as it was.
pub(crate) struct Lent {
    tasks: [JoinHandle<()>; 2],
    end: oneshot::Receiver<()>,
}

/// Who is on the other side of our streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Somebody at a terminal.
    Terminal,
    /// Files, pipes, or a terminal that others write to.
    Streams,
    /// The same, where reading would have us stopped: a job in the terminal's background.
    Background,
}

impl Caller {
    /// Who it is; where only the input counts, its output may go elsewhere.
    pub(crate) fn find(only_input: bool) -> Self {
        if !io::stdin().is_terminal() {
            return Self::Streams;
        }
        if tcgetpgrp(stdin()).is_ok_and(|group| group != rustix::process::getpgrp()) {
            return Self::Background;
        }
        if only_input || io::stdout().is_terminal() { Self::Terminal } else { Self::Streams }
    }

    /// Our streams, for a command.
    ///
    /// # Errors
    /// Where a terminal cannot be asked or set.
    pub(crate) fn lend(self) -> io::Result<(Streams<'static>, Option<Lent>)> {
        let streams = Streams::to(tokio::io::stdout(), tokio::io::stderr());
        match self {
            Self::Terminal => lend(streams).map(|(streams, lent)| (streams, Some(lent))),
            Self::Streams => Ok((streams.reading(tokio::io::stdin()), None)),
            Self::Background => Ok((streams, None)),
        }
    }
}

impl Lent {
    /// Resolves when the command is to be left: its caller is gone, or [wants that](Escape).
    pub(crate) async fn ended(&mut self) {
        if (&mut self.end).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        give_back();
    }
}

/// Makes the terminal what it was before it was lent.
pub(crate) fn give_back() {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = before.take() {
        // One that is gone needs no giving back.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &before);
    }
}

fn lend(streams: Streams<'static>) -> io::Result<(Streams<'static>, Lent)> {
    let (size, sizes) = watch::channel(size()?);
    let resized = signal(SignalKind::window_change())?;
    // SAFETY: standard input is open for as long as this process lives.
    let keys = unsafe { AsyncFd::register_with_interest(io::stdin(), Interest::READABLE)? };
    let (typed, reading) = tokio::io::duplex(TYPED_AHEAD);
    let (ending, end) = oneshot::channel();
    make_raw()?;
    let passing = async {
        if let Err(error) = pass(keys, typed).await {
            tracing::debug!(%error, "the terminal is gone");
        }
        let _ = ending.send(());
    };
    let lent = Lent { tasks: [tokio::spawn(passing), tokio::spawn(follow(resized, size))], end };
    let errors_apart = !io::stderr().is_terminal();
    let terminal = Terminal { kind: env::read(env::TERM), size: sizes, errors_apart };
    Ok((streams.reading(reading).on(terminal), lent))
}

/// Has every key reach the command, and nothing be shown but what it writes.
fn make_raw() -> io::Result<()> {
    let before = tcgetattr(stdin())?;
    let mut raw = before.clone();
    raw.make_raw();
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    Ok(tcsetattr(stdin(), OptionalActions::Drain, &raw)?)
}

fn size() -> io::Result<Size> {
    let size = tcgetwinsize(stdin())?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

async fn follow(mut resized: Signal, sizes: watch::Sender<Size>) {
    while resized.recv().await.is_some() {
        if let Ok(size) = size() {
            sizes.send_replace(size);
        }
    }
}

/// Passes keys on until the command is to be left, or the terminal is gone. Reads also what the guest
/// does not take: somebody may want to leave it for just that.
async fn pass(keys: AsyncFd<io::Stdin>, mut to: DuplexStream) -> io::Result<()> {
    let mut escape = Escape::default();
    let mut bytes = [0; 4096];
    loop {
        let mut ready = keys.readable().await?;
        // The terminal is shared, and must not be told to be ready always.
        if poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], Some(&Default::default()))? == 0 {
            ready.clear_ready();
            continue;
        }
        let read = rustix::io::read(stdin(), &mut bytes)?;
        if read == 0 || escape.is_pressed(&bytes[..read], Instant::now()) {
            return Ok(());
        }
        to.write_all(&bytes[..read]).await?;
    }
}

/// Leaving a guest that does not answer: Ctrl-] three times within a second.
#[derive(Debug, Default)]
struct Escape {
    presses: u32,
    first: Option<Instant>,
}

impl Escape {
    const KEY: u8 = 0x1d;
    const PRESSES: u32 = 3;
    const WITHIN: Duration = Duration::from_secs(1);

    /// Whether it is complete with these keys.
    fn is_pressed(&mut self, keys: &[u8], now: Instant) -> bool {
        keys.iter().any(|key| {
            if *key != Self::KEY {
                self.presses = 0;
                return false;
            }
            let first = self.first.filter(|first| now.duration_since(*first) <= Self::WITHIN);
            if first.is_none() || self.presses == 0 {
                (self.presses, self.first) = (0, Some(now));
            }
            self.presses += 1;
            self.presses == Self::PRESSES
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_presses_within_a_second_leave() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut escape = Escape::default();
        assert!(!escape.is_pressed(b"\x1d\x1da", at(0)));
        assert!(!escape.is_pressed(b"\x1d", at(100)));
        assert!(!escape.is_pressed(b"\x1d", at(1000)));
        // The first of them was too long ago.
        assert!(!escape.is_pressed(b"\x1d", at(1200)));
        assert!(!escape.is_pressed(b"\x1d", at(1300)));
        assert!(escape.is_pressed(b"x\x1d\x1d\x1d", at(1400)));
    }
}
