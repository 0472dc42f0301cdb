//! The side that sends, and sends again.

use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::wire::{MAX_DATAGRAM, MAX_LINE, decode, encode};

/// How long an answer may take before the line is sent again.
const PATIENCE: Duration = Duration::from_millis(100);

/// A connection to a [`Server`](crate::Server).
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    sequence: u64,
    resent: u64,
}

impl Client {
    /// Opens a socket; nothing is sent yet.
    ///
    /// # Errors
    /// Where there is no socket to be had.
    pub fn new(server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(server)?;
        Ok(Self { socket, sequence: 0, resent: 0 })
    }

    /// Appends a line of at most 1024 bytes and returns once the server has it.
    ///
    /// # Errors
    /// `InvalidInput` where it is longer; `ConnectionRefused` where nobody listens; `TimedOut` where
    /// no answer came before the deadline. After the last the server may have the line or not.
    pub fn append(&mut self, line: &str, deadline: Duration) -> Result<()> {
        if line.len() > MAX_LINE {
            return Err(Error::new(ErrorKind::InvalidInput, "the line is too long"));
        }
        let until = Instant::now() + deadline;
        self.sequence += 1;
        let datagram = encode(self.sequence, line);
        self.socket.send(&datagram)?;
        while !self.is_answered(until.min(Instant::now() + PATIENCE))? {
            if Instant::now() >= until {
                return Err(Error::new(ErrorKind::TimedOut, format!("no answer in {deadline:?}")));
            }
            self.resent += 1;
            self.socket.send(&datagram)?;
        }
        Ok(())
    }

    /// How many times a line was sent again.
    #[must_use]
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Waits for the answer to the latest line. Answers to earlier ones are late copies.
    fn is_answered(&self, until: Instant) -> Result<bool> {
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut buffer) {
                Ok(length) if decode(&buffer[..length]) == Some((self.sequence, "")) => {
                    return Ok(true);
                }
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether a socket's timeout ran out, or a signal came first: either way there is nothing to read.
pub(crate) fn is_timeout(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
