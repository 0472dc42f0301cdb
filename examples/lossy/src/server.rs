//! The side that keeps the log.

use std::collections::HashMap;
use std::io::Result;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use crate::client::is_timeout;
use crate::wire::{MAX_DATAGRAM, decode, encode};

/// How often the thread looks whether it is to end: no datagram could be relied on to tell it so.
const TICK: Duration = Duration::from_millis(50);

/// A server on the loopback address, in a thread. Dropping it ends that.
#[derive(Debug)]
#[must_use = "dropping it stops the server"]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Log>>>,
}

impl Server {
    /// Starts one on a free port.
    ///
    /// # Errors
    /// Where there is no socket to be had.
    pub fn start() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(TICK))?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = spawn({
            let stop = Arc::clone(&stop);
            move || serve(&socket, &stop)
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it and returns what it wrote down.
    ///
    /// # Errors
    /// Where its socket had failed.
    ///
    /// # Panics
    /// Where its thread did.
    pub fn stop(mut self) -> Result<Log> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("only `stop` takes it, and takes `self` too");
        thread.join().expect("the server's thread does not panic")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What a server has received.
#[derive(Debug, Default)]
pub struct Log {
    /// The lines, in order.
    pub lines: Vec<String>,
    /// How many datagrams were copies of ones that had come before.
    pub copies: u64,
    latest: HashMap<SocketAddr, u64>,
}

impl Log {
    /// Writes a line down unless it is there; returns whether it is to be answered.
    fn take(&mut self, from: SocketAddr, sequence: u64, line: &str) -> bool {
        let latest = self.latest.entry(from).or_default();
        if sequence > *latest {
            *latest = sequence;
            self.lines.push(line.to_owned());
        } else {
            self.copies += 1;
        }
        // The client no longer asks for any before its latest.
        sequence == *latest
    }
}

fn serve(socket: &UdpSocket, stop: &AtomicBool) -> Result<Log> {
    let mut log = Log::default();
    let mut buffer = [0; MAX_DATAGRAM];
    while !stop.load(Ordering::Relaxed) {
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error),
        };
        if let Some((sequence, line)) = decode(&buffer[..length])
            && log.take(from, sequence, line)
        {
            socket.send_to(&encode(sequence, ""), from)?;
        }
    }
    Ok(log)
}
