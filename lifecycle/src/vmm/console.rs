//! The guest's serial console: what the guest says while it boots, its last lines when it dies,
//! and batches of steps for its agent.
//!
//! ```text
//! Booting ──► Ready ◄─┐                 a batch: sent ─► done, or failed
//!    └─► GaveUp       └── batches
//!    └─► Panicked or PoweredOff, from anywhere
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{mpsc, watch};

use super::VmmError;
use crate::agent::Batch;

/// How many lines a report quotes: a panic with its registers and call trace fits.
const TAIL_LINES: usize = 60;

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
    answers: mpsc::UnboundedReceiver<Answer>,
    input: Box<dyn AsyncWrite + Unpin + Send>,
    /// The console's own input, where the agent is spoken to over another stream: a VMM that sees it
    /// end tells nothing any more.
    unused: Option<Box<dyn AsyncWrite + Unpin + Send>>,
    /// Whether the stream to the agent ends with the VMM only.
    lasts: bool,
    batches: u64,
    tail: Arc<Mutex<VecDeque<String>>>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("sign", &self.sign).finish_non_exhaustive()
    }
}

impl Console {
    /// Reads lines in the background.
    pub(crate) fn follow(
        output: impl AsyncRead + Unpin + Send + 'static,
        input: impl AsyncWrite + Unpin + Send + 'static,
        log: Option<File>,
    ) -> Self {
        let (signs, sign) = watch::channel(Sign::Booting);
        let (answering, answers) = mpsc::unbounded_channel();
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let notes = Notes { signs, answering, tail: Arc::clone(&tail), log };
        tokio::spawn(read_lines(output, notes, Notes::take));
        Self { sign, answers, input: Box::new(input), unused: None, lasts: true, batches: 0, tail }
    }

    /// Speaks to the agent over another stream from now on; `lasts` says whether that ends with the
    /// VMM only.
    pub(crate) fn speak_over(
        &mut self,
        output: impl AsyncRead + Unpin + Send + 'static,
        input: impl AsyncWrite + Unpin + Send + 'static,
        lasts: bool,
    ) {
        let (answering, answers) = mpsc::unbounded_channel();
        tokio::spawn(read_lines(output, answering, |answering, line| {
            tell(answering, answer_in(&text_of(line)));
        }));
        (self.answers, self.lasts) = (answers, lasts);
        let before = std::mem::replace(&mut self.input, Box::new(input));
        self.unused.get_or_insert(before);
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
        self.input.write_all(batch.text(number).as_bytes()).await.map_err(VmmError::Control)?;
        match tokio::time::timeout(limit, self.answer(number)).await {
            Ok(Some(Answer::Done(_))) => Ok(()),
            Ok(Some(Answer::Failed(_, reason))) => Err(VmmError::Step { what, reason }),
            Ok(None) => Err(VmmError::Control(std::io::ErrorKind::ConnectionReset.into())),
            Err(_) => Err(VmmError::NoAnswer { what, seconds: limit.as_secs() }),
        }
    }

    /// The answer to a batch; what is left of earlier ones is passed over.
    /// `None` when the stream to the agent has ended, and the VMM need not have.
    async fn answer(&mut self, wanted: u64) -> Option<Answer> {
        loop {
            match self.answers.recv().await {
                Some(answer @ (Answer::Done(number) | Answer::Failed(number, _)))
                    if number == wanted =>
                {
                    return Some(answer);
                }
                Some(_) => {}
                // The VMM's end is what counts, and is seen elsewhere.
                None if self.lasts => return std::future::pending().await,
                None => return None,
            }
        }
    }

    /// Waits until everything that was printed has been read: the VMM has ended.
    pub(crate) async fn drained(&mut self) {
        while self.sign.changed().await.is_ok() {}
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

/// Reads until the end, and has each line taken, its end included.
async fn read_lines<T>(stream: impl AsyncRead + Unpin, mut taker: T, take: impl Fn(&mut T, &[u8])) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while let Ok(1..) = reader.read_until(b'\n', &mut bytes).await {
        take(&mut taker, &bytes);
        bytes.clear();
    }
}

/// Where the console's lines go.
struct Notes {
    signs: watch::Sender<Sign>,
    answering: mpsc::UnboundedSender<Answer>,
    tail: Arc<Mutex<VecDeque<String>>>,
    log: Option<File>,
}

impl Notes {
    fn take(&mut self, bytes: &[u8]) {
        if let Some(Err(error)) = self.log.as_mut().map(|log| log.write_all(bytes)) {
            tracing::debug!(%error, "the console's log is not whole");
            self.log = None;
        }
        let line = text_of(bytes);
        if tell(&self.answering, answer_in(&line)) {
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
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

/// Passes an answer on, if it is one. Nobody waits for it after a time-out.
fn tell(answering: &mpsc::UnboundedSender<Answer>, answer: Option<Answer>) -> bool {
    answer.is_some_and(|answer| {
        drop(answering.send(answer));
        true
    })
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
mod tests {
    use super::*;

    #[tokio::test]
    async fn signs_are_found_among_the_lines() {
        let text: &[u8] = b"[ 0.1] hello\r\nbanger: cannot mount layer\r\nbanger: ready\r\n";
        let mut console = Console::follow(text, tokio::io::sink(), None);
        assert_eq!(console.sign().await, Some(Sign::Ready));
        console.drained().await;
        assert!(console.tail().starts_with("[ 0.1] hello\nbanger:"));
    }

    #[tokio::test]
    async fn a_panic_is_told_with_its_reason() {
        let text: &[u8] = b"[ 4.6] Kernel panic - not syncing: VFS: no root\n";
        let sign = Console::follow(text, tokio::io::sink(), None).sign().await;
        assert_eq!(sign, Some(Sign::Panicked("VFS: no root".to_owned())));
    }

    #[tokio::test]
    async fn a_guest_that_gave_up_is_not_one_that_switched_itself_off() {
        let off = b"[ 1.2] reboot: Power down\n";
        let sign = Console::follow(&off[..], tokio::io::sink(), None).sign().await;
        assert_eq!(sign, Some(Sign::PoweredOff));
        let text = [&b"banger: gave up: no disk\n"[..], off].concat();
        let mut console = Console::follow(std::io::Cursor::new(text), tokio::io::sink(), None);
        console.drained().await;
        assert_eq!(console.last_sign(), Sign::GaveUp("no disk".to_owned()));
    }

    #[tokio::test]
    async fn a_console_that_ends_early_is_no_sign() {
        assert_eq!(Console::follow(&b"bye\n"[..], tokio::io::sink(), None).sign().await, None);
    }

    #[tokio::test]
    async fn a_batch_ends_with_the_agents_own_word() {
        let (ours, theirs) = tokio::io::duplex(4096);
        let (output, input) = tokio::io::split(ours);
        let mut console = Console::follow(output, input, None);
        let agent = async move {
            let (output, mut input) = tokio::io::split(theirs);
            let mut lines = BufReader::new(output).lines();
            let says = ["noise\nbanger: done 1\n", "[ 1.0] oops banger: failed 2 file: error 28\n"];
            for says in says {
                while lines.next_line().await.unwrap().unwrap() != "go" {}
                input.write_all(says.as_bytes()).await.unwrap();
            }
        };
        let host = async move {
            let limit = Duration::from_secs(60);
            let batch = Batch::new().hostname("otter");
            console.perform("naming", &batch, limit).await.unwrap();
            console.perform("naming", &batch, limit).await.unwrap_err().to_string()
        };
        let (error, ()) = tokio::join!(host, agent);
        assert_eq!(error, "the guest failed at naming: file: error 28");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_is_silent_is_told() {
        let (_theirs, ours) = tokio::io::duplex(4096);
        let (output, input) = tokio::io::split(ours);
        let mut console = Console::follow(output, input, None);
        let limit = Duration::from_secs(60);
        let error = console.perform("freezing", &Batch::new(), limit).await.unwrap_err();
        assert_eq!(error.to_string(), "the guest did not answer within 60 s, at freezing");
    }
}
