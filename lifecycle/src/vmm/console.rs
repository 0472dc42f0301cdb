//! The guest's serial console: what the guest says while it boots, its last lines when it dies,
//! and batches of steps for its agent.
//!
//! ```text
//! Booting ──► Ready ◄─┐                 a batch: sent ─► done, or failed
//!    └─► GaveUp       └── batches
//!    └─► Panicked or PoweredOff, from anywhere
//! ```
//!
//! Whoever has taken over the guest writes what it likes: lines have a length, and of answers only the
//! one that is waited for is kept.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::VmmError;
use super::lines::{Lines, read_pieces};
use super::log::Log;
use crate::agent::Batch;

/// How many lines a report quotes, and how many bytes: a panic with its registers and call trace fits.
const TAIL_LINES: usize = 60;
const TAIL_BYTES: usize = 16 << 10;

/// How long a line may be, in bytes; a longer one counts as several.
const LONGEST: usize = 4 << 10;

/// What the console has told us of the guest's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Nothing yet.
    Booting,
    /// sshd listens, and so does the agent.
    Ready,
    /// The boot scripts gave up, with this reason.
    GaveUp(String),
    /// The kernel panicked, with this reason.
    Panicked(String),
    /// The kernel has stopped for good, and said nothing else.
    PoweredOff,
}

/// What the agent says of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Done(u64),
    Failed(u64, String),
}

/// A console being read. Reading ends with the VMM.
pub(crate) struct Console {
    sign: watch::Receiver<Sign>,
    answers: watch::Receiver<Option<Answer>>,
    /// The batch whose answer is waited for.
    wanted: Arc<AtomicU64>,
    input: Box<dyn AsyncWrite + Unpin + Send>,
    /// The console's own input, where the agent is spoken to over another stream: a VMM that sees it
    /// end tells nothing any more.
    unused: Option<Box<dyn AsyncWrite + Unpin + Send>>,
    /// Whether the stream to the agent ends with the VMM only.
    lasts: bool,
    batches: u64,
    tail: Arc<Mutex<Tail>>,
    reading: JoinHandle<()>,
}

/// The last lines.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("sign", &self.sign).finish_non_exhaustive()
    }
}

impl Console {
    /// Reads lines in the background, and keeps all there is in a log.
    pub(crate) fn follow(
        output: impl AsyncRead + Unpin + Send + 'static,
        input: impl AsyncWrite + Unpin + Send + 'static,
        log: Option<Arc<Mutex<Log>>>,
    ) -> Self {
        let (signs, sign) = watch::channel(Sign::Booting);
        let (answering, answers, wanted) = answers();
        let tail = Arc::<Mutex<Tail>>::default();
        let notes = Notes { signs, answering, tail: Arc::clone(&tail), log };
        let reading = tokio::spawn(notes.read(output));
        let input = Box::new(input);
        Self { sign, answers, wanted, input, unused: None, lasts: true, batches: 0, tail, reading }
    }

    /// Speaks to the agent over another stream from now on; `lasts` says whether that ends with the
    /// VMM only.
    pub(crate) fn speak_over(
        &mut self,
        output: impl AsyncRead + Unpin + Send + 'static,
        input: impl AsyncWrite + Unpin + Send + 'static,
        lasts: bool,
    ) {
        let (answering, answers, wanted) = answers();
        tokio::spawn(async move {
            let mut lines = Lines::new(LONGEST);
            let each = |line: &[u8]| {
                answering.take(&text_of(line));
            };
            read_pieces(output, |piece| lines.take(piece, each)).await;
        });
        (self.answers, self.wanted, self.lasts) = (answers, wanted, lasts);
        let before = std::mem::replace(&mut self.input, Box::new(input));
        self.unused.get_or_insert(before);
    }

    /// Reads no more, so that somebody else may.
    pub(crate) fn leave(&self) {
        self.reading.abort();
    }

    /// Waits for the next sign that is not [`Sign::Booting`]; `None` when the console has ended.
    pub(crate) async fn sign(&mut self) -> Option<Sign> {
        let sign = self.sign.wait_for(|sign| *sign != Sign::Booting).await;
        sign.ok().map(|sign| sign.clone())
    }

    /// The signs to come.
    pub(crate) fn signs(&self) -> watch::Receiver<Sign> {
        self.sign.clone()
    }

    /// The last sign seen.
    pub(crate) fn last_sign(&self) -> Sign {
        self.sign.borrow().clone()
    }

    /// Has the agent carry out a batch, within `limit`.
    pub(crate) async fn perform(
        &mut self,
        what: &'static str,
        batch: &Batch,
        limit: Duration,
    ) -> Result<(), VmmError> {
        self.batches += 1;
        let number = self.batches;
        self.wanted.store(number, Ordering::Relaxed);
        // A guest may take as long to read as to answer.
        let asking = async {
            self.input.write_all(batch.text(number).as_bytes()).await.map_err(VmmError::Control)?;
            Ok(self.answer(number).await)
        };
        match tokio::time::timeout(limit, asking).await {
            Ok(Ok(Some(Answer::Done(_)))) => Ok(()),
            Ok(Ok(Some(Answer::Failed(_, reason)))) => Err(VmmError::Step { what, reason }),
            Ok(Ok(None)) => Err(VmmError::Control(std::io::ErrorKind::ConnectionReset.into())),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(VmmError::NoAnswer { what, seconds: limit.as_secs() }),
        }
    }

    /// The answer to a batch. `None` when the stream to the agent has ended, and the VMM need not have.
    async fn answer(&mut self, wanted: u64) -> Option<Answer> {
        let is_it = |answer: &Option<Answer>| {
            answer.as_ref().is_some_and(|answer| answer.number() == wanted)
        };
        match self.answers.wait_for(is_it).await {
            Ok(answer) => answer.clone(),
            // The VMM's end is what counts, and is seen elsewhere.
            Err(_) if self.lasts => std::future::pending().await,
            Err(_) => None,
        }
    }

    /// Waits until everything that was printed has been read: the VMM has ended.
    pub(crate) async fn drained(&mut self) {
        while self.sign.changed().await.is_ok() {}
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Answer {
    fn number(&self) -> u64 {
        match self {
            Self::Done(number) | Self::Failed(number, _) => *number,
        }
    }
}

impl Tail {
    fn push(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > TAIL_LINES || self.bytes > TAIL_BYTES {
            self.bytes -= self.lines.pop_front().map_or(0, |line| line.len());
        }
    }
}

/// Where answers go: one at a time, and only such as somebody waits for.
struct Answering {
    answers: watch::Sender<Option<Answer>>,
    wanted: Arc<AtomicU64>,
}

fn answers() -> (Answering, watch::Receiver<Option<Answer>>, Arc<AtomicU64>) {
    let (answers, receiver) = watch::channel(None);
    let wanted = Arc::<AtomicU64>::default();
    (Answering { answers, wanted: Arc::clone(&wanted) }, receiver, wanted)
}

impl Answering {
    /// Passes on what a line answers, where that is waited for; whether it is an answer at all.
    fn take(&self, line: &str) -> bool {
        let Some(answer) = answer_in(line) else { return false };
        if answer.number() == self.wanted.load(Ordering::Relaxed) {
            self.answers.send_replace(Some(answer));
        }
        true
    }
}

/// Where the console's lines go.
struct Notes {
    signs: watch::Sender<Sign>,
    answering: Answering,
    tail: Arc<Mutex<Tail>>,
    log: Option<Arc<Mutex<Log>>>,
}

impl Notes {
    async fn read(self, output: impl AsyncRead + Unpin) {
        let mut lines = Lines::new(LONGEST);
        let take = |line: &[u8]| self.take(line);
        read_pieces(output, |piece| {
            if let Some(log) = &self.log {
                log.lock().unwrap_or_else(PoisonError::into_inner).write(piece);
            }
            lines.take(piece, take);
        })
        .await;
        lines.finish(take);
    }

    fn take(&self, bytes: &[u8]) {
        let line = text_of(bytes);
        if self.answering.take(&line) {
            return;
        }
        if let Some(seen) = sign_in(&line) {
            self.signs.send_if_modified(|sign| {
                // What gives up says why first, and then switches off.
                let off = matches!(seen, Sign::PoweredOff | Sign::GaveUp(_));
                let news = !(off && matches!(sign, Sign::GaveUp(_)));
                if news {
                    *sign = seen;
                }
                news
            });
        }
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// A line as text, without its end.
fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// What one line tells of the guest.
fn sign_in(line: &str) -> Option<Sign> {
    if let Some((_, reason)) = line.split_once("Kernel panic - not syncing: ") {
        return Some(Sign::Panicked(reason.to_owned()));
    }
    if line.ends_with("reboot: Power down") || line.ends_with("reboot: System halted") {
        return Some(Sign::PoweredOff);
    }
    match words_of_ours(line)? {
        "ready" => Some(Sign::Ready),
        text => text.strip_prefix("gave up: ").map(|reason| Sign::GaveUp(reason.to_owned())),
    }
}

/// What one line tells of a batch.
fn answer_in(line: &str) -> Option<Answer> {
    let (word, rest) = words_of_ours(line)?.split_once(' ')?;
    match word {
        "done" => rest.parse().ok().map(Answer::Done),
        "failed" => {
            let (number, reason) = rest.split_once(' ')?;
            Some(Answer::Failed(number.parse().ok()?, reason.to_owned()))
        }
        _ => None,
    }
}

/// What follows our mark; a message of the kernel may stand before it in the same line.
fn words_of_ours(line: &str) -> Option<&str> {
    line.split_once("banger: ").map(|(_, words)| words)
}

#[cfg(test)]
mod tests;
