//! What a VMM writes beside the guest's console: read, and kept in bounded logs.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use camino::Utf8Path;
use rustix::io::read;
use tokio::io::AsyncRead;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use super::lines::read_pieces;
use super::log::Log;

/// How much is read at last, in bytes, of what a VMM that has ended wrote before.
const REST: usize = 1 << 20;

/// A stream on its way to a log. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Recording {
    /// The stream, for whoever is to go on with it.
    source: OwnedFd,
    log: Arc<Mutex<Log>>,
    reading: Option<JoinHandle<()>>,
}

impl Recording {
    /// Of a socket, which must not block.
    pub(super) fn socket(source: StdUnixStream, log: Log) -> std::io::Result<Self> {
        let stream = UnixStream::from_std(source.try_clone()?)?;
        Ok(Self::of(source.into(), log).reading(stream))
    }

    /// Of a named pipe. It does not end by itself: who writes to it may open it at any time.
    pub(super) fn pipe(path: &Utf8Path, log: Log) -> std::io::Result<Self> {
        let stream = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        let source = stream.as_fd().try_clone_to_owned()?;
        Ok(Self::of(source, log).reading(stream))
    }

    /// Of a stream that is read elsewhere.
    pub(super) fn of(source: OwnedFd, log: Log) -> Self {
        Self { source, log: Arc::new(Mutex::new(log)), reading: None }
    }

    fn reading(mut self, stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let log = self.log();
        let write = move |piece: &[u8]| {
            log.lock().unwrap_or_else(PoisonError::into_inner).write(piece);
        };
        self.reading = Some(tokio::spawn(read_pieces(stream, write)));
        self
    }

    /// The log.
    pub(super) fn log(&self) -> Arc<Mutex<Log>> {
        Arc::clone(&self.log)
    }

    /// The last of what was written by somebody who has ended, at most so many bytes.
    pub(super) fn last(&self, most: u64) -> String {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut buffer, mut rest) = ([0; 16 << 10], REST);
        while let Ok(read @ 1..) = read(&self.source, &mut buffer) {
            log.write(&buffer[..read]);
            rest = rest.saturating_sub(read);
            if rest == 0 {
                break;
            }
        }
        log.last(most)
    }

    /// Reads no more. The stream, its log, and how much of that is gone.
    pub(super) fn leave(&self) -> std::io::Result<(OwnedFd, OwnedFd, u64)> {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((self.source.try_clone()?, log.file().try_clone()?.into(), log.gone()))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}
