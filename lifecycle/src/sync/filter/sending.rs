//! The direction to the server: notes which requests are made.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::Ledger;
use super::ledger::Books;
use super::packet::{Expected, INIT};

/// How much of a request is kept: a read with the longest handle, or an extension's name.
const KEPT: usize = 320;

/// A packet's length field, and that with type and number.
const LENGTH: usize = 4;
const HEAD: usize = LENGTH + 5;

/// Passes on what the client sends.
#[derive(Debug)]
pub(crate) struct Sending<W> {
    to: W,
    ledger: Arc<Ledger>,
    request: Request,
}

/// The request that is on its way.
#[derive(Debug, Default)]
struct Request {
    /// Its beginning.
    kept: Vec<u8>,
    /// How much is still to come.
    left: usize,
}

impl<W> Sending<W> {
    pub(crate) fn new(to: W, ledger: Arc<Ledger>) -> Self {
        Self { to, ledger, request: Request::default() }
    }
}

impl<W: AsyncWrite + Unpin> Sending<W> {
    /// Writes, and notes what was written before anybody can have answered it.
    fn noting(
        &mut self,
        buffers: &[IoSlice<'_>],
        write: impl FnOnce(Pin<&mut W>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut books = self.ledger.books();
        let written = write(Pin::new(&mut self.to));
        if let Poll::Ready(Ok(mut left)) = written {
            for buffer in buffers {
                let part = &buffer[..left.min(buffer.len())];
                self.request.pass(part, &mut books);
                left -= part.len();
            }
        }
        written
    }
}

impl Request {
    fn pass(&mut self, mut bytes: &[u8], books: &mut Books) {
        while !bytes.is_empty() {
            if self.kept.len() < LENGTH {
                let missing = (LENGTH - self.kept.len()).min(bytes.len());
                self.keep(&mut bytes, missing);
                if let Some(length) = self.kept.first_chunk::<LENGTH>() {
                    self.left = u32::from_be_bytes(*length) as usize;
                }
            } else {
                let part = self.left.min(bytes.len());
                let kept = part.min(KEPT - self.kept.len());
                self.left -= part;
                self.keep(&mut bytes, kept);
                bytes = &bytes[part - kept..];
            }
            books.sending = true;
            if self.kept.len() >= LENGTH && self.left == 0 {
                self.note(books);
            }
        }
    }

    fn keep(&mut self, bytes: &mut &[u8], count: usize) {
        let (kept, rest) = bytes.split_at(count);
        self.kept.extend_from_slice(kept);
        *bytes = rest;
    }

    /// Notes a request that is sent.
    fn note(&mut self, books: &mut Books) {
        if let Some((head, rest)) = self.kept.split_at_checked(HEAD)
            && head[LENGTH] != INIT
        {
            let id = [head[5], head[6], head[7], head[8]];
            books.open.insert(u32::from_be_bytes(id), Expected::of(head[LENGTH], rest));
        }
        self.kept.clear();
        books.sending = false;
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Sending<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.noting(&[IoSlice::new(bytes)], |to| to.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.noting(buffers, |to| to.poll_write_vectored(cx, buffers))
    }

    fn is_write_vectored(&self) -> bool {
        self.to.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_shutdown(cx)
    }
}
