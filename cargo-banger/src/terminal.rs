//! Our own streams, lent to a command in the guest; our terminal as its terminal.

use std::io::{self, IsTerminal as _};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use banger_lifecycle::exec::terminal::Size;
use banger_lifecycle::exec::{Streams, Terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::{Errno, read};
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios};
use rustix::termios::{tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt as _, DuplexStream, Interest};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::env;

/// How many bytes are on their way to the command.
const TYPED_AHEAD: usize = 16 << 10;

/// What a terminal was like before it was lent; for whoever leaves in the middle of that too.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// A terminal that is lent. Dropping it gives it back as it was.
pub(crate) struct Lent {
    tasks: [JoinHandle<()>; 2],
    end: oneshot::Receiver<()>,
    /// Last: nobody is at the keys any more.
    _restored: Restored,
}

/// Our streams, for a command, and a terminal where they are one and ours to lend. Where only the
/// input counts, as for a shell, the output may go elsewhere.
///
/// # Errors
/// Where a terminal cannot be asked or set.
pub(crate) fn streams(only_input: bool) -> io::Result<(Streams<'static>, Option<Lent>)> {
    let streams = Streams::to(tokio::io::stdout(), tokio::io::stderr());
    if !io::stdin().is_terminal() {
        return Ok((streams.reading(tokio::io::stdin()), None));
    }
    if !is_ours() {
        return Ok((streams, None));
    }
    if only_input || io::stdout().is_terminal() {
        return lend(streams).map(|(streams, lent)| (streams, Some(lent)));
    }
    Ok((streams.reading(tokio::io::stdin()), None))
}

/// Whether the terminal waits for us: not for what we are in the background of, which would have us
/// stopped for using it, nor for another of us, which has lent it already.
fn is_ours() -> bool {
    if tcgetpgrp(stdin()).is_ok_and(|group| group != rustix::process::getpgrp()) {
        return false;
    }
    let claimed = fcntl_lock(stdin(), FlockOperation::NonBlockingLockExclusive);
    !matches!(claimed, Err(Errno::AGAIN | Errno::ACCESS))
}

/// Awaits a command's end; `None` if its caller left before.
pub(crate) async fn until_left<T>(
    lent: Option<Lent>,
    running: impl Future<Output = T>,
) -> Option<T> {
    let Some(mut lent) = lent else { return Some(running.await) };
    tokio::select! {
        ended = running => Some(ended),
        () = lent.ended() => None,
    }
}

impl Lent {
    /// Resolves when the command is to be left: its caller is gone, or [wants that](Escape).
    async fn ended(&mut self) {
        if (&mut self.end).await.is_err() {
            std::future::pending().await
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Has the terminal be given back as it is now when this is dropped.
pub(crate) struct Restored(());

impl Restored {
    /// # Errors
    /// Where there is no terminal.
    pub(crate) fn later() -> io::Result<Self> {
        let now = tcgetattr(stdin())?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        Ok(Self(()))
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        give_back();
    }
}

/// Makes the terminal what it was before it was lent. Does not wait for what is being written, which may
/// be for ever.
pub(crate) fn give_back() {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = before.take() {
        // One that is gone needs no giving back.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &before);
        let _ = fcntl_lock(stdin(), FlockOperation::Unlock);
    }
}

fn lend(streams: Streams<'static>) -> io::Result<(Streams<'static>, Lent)> {
    let resized = signal(SignalKind::window_change())?;
    let (size, sizes) = watch::channel(size()?);
    // SAFETY: standard input is open for as long as this process lives.
    let keys = unsafe { AsyncFd::register_with_interest(io::stdin(), Interest::READABLE)? };
    let (typed, reading) = tokio::io::duplex(TYPED_AHEAD);
    let (ending, end) = oneshot::channel();
    let restored = Restored::later()?;
    make_raw()?;
    let ahead = typed_ahead()?;
    let passing = async {
        if let Err(error) = pass(keys, ahead, typed).await {
            tracing::debug!(%error, "the terminal is gone");
        }
        let _ = ending.send(());
    };
    let tasks = [tokio::spawn(passing), tokio::spawn(follow(resized, size))];
    let lent = Lent { tasks, end, _restored: restored };
    let errors_apart = !io::stderr().is_terminal();
    let terminal = Terminal { kind: env::read(env::TERM), size: sizes, errors_apart };
    Ok((streams.reading(reading).on(terminal), lent))
}

/// Has every key reach the command, and nothing be shown but what it writes.
fn make_raw() -> io::Result<()> {
    let mut raw = tcgetattr(stdin())?;
    raw.make_raw();
    Ok(tcsetattr(stdin(), OptionalActions::Now, &raw)?)
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

/// What was typed before the terminal was lent. It holds a zero byte where somebody ended the input:
/// the key was taken for that then, and is one of the command's now.
fn typed_ahead() -> io::Result<Vec<u8>> {
    const END_OF_INPUT: u8 = 4;
    let mut typed = Vec::new();
    while read_keys(&mut typed)?.is_some_and(|read| read > 0) {}
    typed.iter_mut().filter(|key| **key == 0).for_each(|key| *key = END_OF_INPUT);
    Ok(typed)
}

/// Passes keys on until the command is to be left, or the terminal is gone. Reads also what the guest
/// does not take: somebody may want to leave it for just that.
async fn pass(
    keys: AsyncFd<io::Stdin>,
    mut typed: Vec<u8>,
    mut to: DuplexStream,
) -> io::Result<()> {
    let mut escape = Escape::default();
    loop {
        tokio::select! {
            ready = keys.readable() => {
                let mut ready = ready?;
                let Some(read) = read_keys(&mut typed)? else {
                    ready.clear_ready();
                    continue;
                };
                if read == 0 || escape.is_pressed(&typed[typed.len() - read..], Instant::now()) {
                    return Ok(());
                }
            }
            written = to.write(&typed), if !typed.is_empty() => {
                // A command that has ended reads nothing; what comes of that is told elsewhere.
                let Ok(written) = written else { return std::future::pending().await };
                typed.drain(..written);
            }
        }
    }
}

/// Reads what was typed, and how much that was; `None` where it was nothing. The terminal is shared with
/// others, and must not be told to be ready always.
fn read_keys(typed: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let mut bytes = [0; 4096];
    let read = match poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], Some(&Timespec::default())) {
        Ok(0) => return Ok(None),
        ready => ready.and_then(|_| read(stdin(), &mut bytes)),
    };
    match read {
        Err(Errno::INTR | Errno::AGAIN) => Ok(None),
        read => {
            let read = read?;
            typed.extend(&bytes[..read]);
            Ok(Some(read))
        }
    }
}

/// Leaving a guest that does not answer: Ctrl-] three times within a second.
#[derive(Debug, Default)]
struct Escape {
    /// When it was pressed last, without other keys between.
    presses: Vec<Instant>,
}

impl Escape {
    const KEY: u8 = 0x1d;
    const PRESSES: usize = 3;
    const WITHIN: Duration = Duration::from_secs(1);

    /// Whether it is complete with these keys.
    fn is_pressed(&mut self, keys: &[u8], now: Instant) -> bool {
        keys.iter().any(|key| {
            if *key == Self::KEY {
                self.presses.retain(|press| now.duration_since(*press) <= Self::WITHIN);
                self.presses.push(now);
            } else {
                self.presses.clear();
            }
            self.presses.len() >= Self::PRESSES
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
        assert!(escape.is_pressed(b"\x1d", at(1300)));
        assert!(Escape::default().is_pressed(b"x\x1d\x1d\x1d", at(0)));
    }
}
