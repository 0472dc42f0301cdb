//! The direction from the server.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, BufReader, ReadBuf};

use super::packet::{self, DATA, Expected};
use super::{Ledger, ServerFault};

/// Bytes read ahead, for small packets; long ones pass by this buffer.
const AHEAD: usize = 8 << 10;

/// A packet's length field; with type and number; with the length of the data in it.
const LENGTH: usize = 4;
const HEAD: usize = LENGTH + 5;
const DATA_HEAD: usize = HEAD + 4;

/// Hands on what the server sends, packet by packet, once it is checked.
#[derive(Debug)]
pub(crate) struct Receiving<R> {
    from: BufReader<R>,
    ledger: Arc<Ledger>,
    /// What is there of the packet, from its length on; of data only the head.
    packet: Vec<u8>,
    filled: usize,
    step: Step,
}

/// ```text
/// Length ─► Head ─┬─► Body ─────────────► Deliver ─────────► Length
///                 └─► DataHead (data only) ─► Deliver ─► Pass ─► Length
/// ```
#[derive(Clone, Copy, Debug)]
enum Step {
    Length,
    Head,
    Body(Expected),
    DataHead {
        asked: u32,
    },
    /// The client takes what was checked; so much data comes after it.
    Deliver {
        at: usize,
        then: usize,
    },
    /// Data, up to the packet's end.
    Pass {
        left: usize,
    },
}

impl<R: AsyncRead + Unpin> Receiving<R> {
    pub(crate) fn new(from: R, ledger: Arc<Ledger>) -> Self {
        let mut this = Self {
            from: BufReader::with_capacity(AHEAD, from),
            ledger,
            packet: Vec::new(),
            filled: 0,
            step: Step::Length,
        };
        this.expect(LENGTH);
        this
    }

    /// Makes room for the packet's first so many bytes.
    fn expect(&mut self, length: usize) {
        self.packet.resize(length, 0);
    }

    /// Reads until all that is expected of the packet is there; `false` where the input ends.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.filled < self.packet.len() {
            let mut free = ReadBuf::new(&mut self.packet[self.filled..]);
            ready!(Pin::new(&mut self.from).poll_read(cx, &mut free))?;
            let read = free.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(false));
            }
            self.ledger.count(read);
            self.filled += read;
        }
        Poll::Ready(Ok(true))
    }

    /// Looks at what is there now, and decides what is next.
    fn advance(&mut self, step: Step) -> Result<(), ServerFault> {
        let length = number(&self.packet, 0);
        let whole = LENGTH + length as usize;
        self.step = match step {
            Step::Length => {
                packet::check_length(length)?;
                self.expect(HEAD);
                Step::Head
            }
            Step::Head => self.head(whole)?,
            Step::DataHead { asked } => {
                let sent = number(&self.packet, HEAD);
                packet::check_data(sent, length, asked)?;
                Step::Deliver { at: 0, then: sent as usize }
            }
            Step::Body(expected) => {
                packet::check_body(self.packet[LENGTH], &self.packet[HEAD..], expected)?;
                Step::Deliver { at: 0, then: 0 }
            }
            step @ (Step::Deliver { .. } | Step::Pass { .. }) => step,
        };
        Ok(())
    }

    /// Finds the request that the packet answers.
    fn head(&mut self, whole: usize) -> Result<Step, ServerFault> {
        let kind = self.packet[LENGTH];
        let ledger = Arc::clone(&self.ledger);
        let mut books = ledger.books();
        if !books.greeted {
            // The only packet without a number.
            if self.filled < whole {
                self.expect(whole);
                return Ok(Step::Head);
            }
            packet::check_version(&self.packet[LENGTH..])?;
            books.greeted = true;
            return Ok(Step::Deliver { at: 0, then: 0 });
        }
        let id = number(&self.packet, LENGTH + 1);
        let expected = books.open.remove(&id).ok_or(ServerFault::Unasked { id })?;
        expected.allows(kind)?;
        match expected {
            Expected::Data(asked) if kind == DATA => {
                // Shorter ones would have their length outside of them.
                if whole < DATA_HEAD {
                    return Err(ServerFault::Malformed { what: "data" });
                }
                self.expect(DATA_HEAD);
                Ok(Step::DataHead { asked })
            }
            _ => {
                self.expect(whole);
                Ok(Step::Body(expected))
            }
        }
    }

    fn begin(&mut self) {
        (self.filled, self.step) = (0, Step::Length);
        self.expect(LENGTH);
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Receiving<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(fault) = this.ledger.fault() {
            return Poll::Ready(Err(invalid(fault)));
        }
        loop {
            match this.step {
                Step::Deliver { at, then } => {
                    let rest = &this.packet[at..];
                    let taken = rest.len().min(to.remaining());
                    to.put_slice(&rest[..taken]);
                    if taken < rest.len() {
                        this.step = Step::Deliver { at: at + taken, then };
                    } else if then > 0 {
                        this.step = Step::Pass { left: then };
                    } else {
                        this.begin();
                    }
                    return Poll::Ready(Ok(()));
                }
                Step::Pass { left } => {
                    let read = ready!(pass(&mut this.from, cx, to, left))?;
                    this.ledger.count(read);
                    match left - read {
                        0 => this.begin(),
                        left => this.step = Step::Pass { left },
                    }
                    return Poll::Ready(Ok(()));
                }
                step => {
                    if !ready!(this.poll_fill(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                    if let Err(fault) = this.advance(step) {
                        this.ledger.books().fault = Some(fault.clone());
                        return Poll::Ready(Err(invalid(fault)));
                    }
                }
            }
        }
    }
}

/// Reads at most so many bytes, and says how many.
fn pass(
    from: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    to: &mut ReadBuf<'_>,
    most: usize,
) -> Poll<io::Result<usize>> {
    if most >= to.remaining() {
        let before = to.filled().len();
        ready!(Pin::new(from).poll_read(cx, to))?;
        return Poll::Ready(Ok(to.filled().len() - before));
    }
    let mut part = ReadBuf::new(to.initialize_unfilled_to(most));
    ready!(Pin::new(from).poll_read(cx, &mut part))?;
    let read = part.filled().len();
    to.advance(read);
    Poll::Ready(Ok(read))
}

fn number(packet: &[u8], at: usize) -> u32 {
    let bytes = packet[at..at + 4].try_into().expect("four bytes are four");
    u32::from_be_bytes(bytes)
}

fn invalid(fault: ServerFault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}
