//! The end of what a command of our own writes, however much that is.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Bytes kept: more than the few lines that an error shows.
const KEPT: usize = 8 << 10;

/// Keeps the last bytes written to it.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<u8>);

impl Tail {
    /// What is kept.
    pub(super) fn bytes(&mut self) -> &[u8] {
        self.0.make_contiguous()
    }

    fn add(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(KEPT)..];
        let excess = (self.0.len() + bytes.len()).saturating_sub(KEPT);
        self.0.drain(..excess);
        self.0.extend(bytes);
    }
}

impl AsyncWrite for Tail {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.add(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.add(format!("{number:08}\n").as_bytes());
        }
        assert_eq!(tail.bytes().len(), KEPT);
        assert!(tail.bytes().ends_with(b"00009998\n00009999\n"));
        tail.add(&[7; 3 * KEPT]);
        assert_eq!(tail.bytes(), [7; KEPT]);
    }
}
