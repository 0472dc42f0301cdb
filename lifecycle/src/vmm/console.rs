//! The guest's serial console: what it says while it boots, and its last lines when it dies.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::watch;

/// How many lines a report quotes.
const TAIL_LINES: usize = 25;

/// What the console has told us of the guest's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Nothing yet.
    Booting,
    /// sshd listens.
    Ready,
    /// The boot scripts gave up, with this reason.
    GaveUp(String),
    /// The kernel panicked, with this reason.
    Panicked(String),
}

/// A console being read. Reading ends with the VMM.
#[derive(Clone, Debug)]
pub(crate) struct Console {
    sign: watch::Receiver<Sign>,
    tail: Arc<Mutex<VecDeque<String>>>,
}

impl Console {
    /// Reads lines in the background.
    pub(crate) fn follow(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, sign) = watch::channel(Sign::Booting);
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        tokio::spawn(read_lines(stream, sender, Arc::clone(&tail)));
        Self { sign, tail }
    }

    /// Waits for the next sign that is not [`Sign::Booting`]; `None` when the console has ended.
    pub(crate) async fn sign(&mut self) -> Option<Sign> {
        let sign = self.sign.wait_for(|sign| *sign != Sign::Booting).await;
        sign.ok().map(|sign| sign.clone())
    }

    /// The last sign seen.
    pub(crate) fn last_sign(&self) -> Sign {
        self.sign.borrow().clone()
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

/// Reads until the end.
async fn read_lines(
    stream: impl AsyncRead + Unpin,
    sign: watch::Sender<Sign>,
    tail: Arc<Mutex<VecDeque<String>>>,
) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    while let Ok(read) = reader.read_until(b'\n', &mut bytes).await {
        if read == 0 {
            return;
        }
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        bytes.clear();
        if let Some(seen) = sign_in(&line) {
            sign.send_replace(seen);
        }
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line);
    }
}

/// What one line tells.
fn sign_in(line: &str) -> Option<Sign> {
    if let Some((_, reason)) = line.split_once("Kernel panic - not syncing: ") {
        return Some(Sign::Panicked(reason.to_owned()));
    }
    match line.strip_prefix("banger: ")? {
        "ready" => Some(Sign::Ready),
        text => text.strip_prefix("gave up: ").map(|reason| Sign::GaveUp(reason.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn signs_are_found_among_the_lines() {
        let text: &[u8] = b"[ 0.1] hello\r\nbanger: cannot mount layer\r\nbanger: ready\r\n";
        let mut console = Console::follow(text);
        assert_eq!(console.sign().await, Some(Sign::Ready));
        console.drained().await;
        assert!(console.tail().starts_with("[ 0.1] hello\nbanger:"));
    }

    #[tokio::test]
    async fn a_panic_is_told_with_its_reason() {
        let text: &[u8] = b"[ 4.6] Kernel panic - not syncing: VFS: no root\n";
        let sign = Console::follow(text).sign().await;
        assert_eq!(sign, Some(Sign::Panicked("VFS: no root".to_owned())));
    }

    #[tokio::test]
    async fn a_console_that_ends_early_is_no_sign() {
        assert_eq!(Console::follow(&b"bye\n"[..]).sign().await, None);
    }
}
