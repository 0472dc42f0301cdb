//! Reads the host's files for a push, ahead of the sending and off the async threads.

use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::error::SyncError;
use super::plan::Upload;
use super::scan::vanished;

/// The most that one SFTP write carries (OpenSSH's limit); longer files go in such chunks.
pub(super) const CHUNK: usize = 255 * 1024;
/// Files read and not yet taken.
const AHEAD: usize = 64;
/// Chunks of one file read and not yet taken.
const CHUNKS_AHEAD: usize = 4;

/// One file, ready to be sent.
pub(super) struct Outgoing {
    /// Its place in the list of uploads.
    pub(super) index: usize,
    pub(super) body: Body,
}

/// What there is to send of it.
pub(super) enum Body {
    /// All of it.
    Whole { content: Vec<u8>, hash: [u8; 32] },
    /// Too long for one message: to be read by [`chunks`].
    Long(std::fs::File),
    /// It is no longer there, or no longer a file.
    Vanished,
}

/// A part of a long file, or what is known once all was read.
pub(super) enum Chunk {
    Part { offset: u64, content: Vec<u8> },
    End { size: u64, hash: [u8; 32] },
}

/// Reads the uploads in order. Dropping the receiver ends the reading.
pub(super) fn read_ahead(
    host_root: &Path,
    uploads: &[Upload],
) -> Receiver<Result<Outgoing, SyncError>> {
    let (sender, receiver) = channel(AHEAD);
    let paths: Vec<PathBuf> = uploads.iter().map(|upload| host_root.join(&upload.path)).collect();
    tokio::task::spawn_blocking(move || {
        for (index, path) in paths.iter().enumerate() {
            let item = open(path)
                .map(|body| Outgoing { index, body })
                .map_err(SyncError::unreadable(path));
            let failed = item.is_err();
            if sender.blocking_send(item).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Reads a long file from its start, chunk by chunk.
pub(super) fn chunks(mut file: std::fs::File) -> Receiver<io::Result<Chunk>> {
    let (sender, receiver) = channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read_chunks(&mut file, &sender) {
            // Nobody listens any more where this fails too.
            drop(sender.blocking_send(Err(error)));
        }
    });
    receiver
}

fn read_chunks(file: &mut std::fs::File, sender: &Sender<io::Result<Chunk>>) -> io::Result<()> {
    let mut hasher = blake3::Hasher::new();
    loop {
        let offset = hasher.count();
        let mut content = Vec::with_capacity(CHUNK);
        file.take(CHUNK as u64).read_to_end(&mut content)?;
        let chunk = if content.is_empty() {
            Chunk::End { size: offset, hash: *hasher.finalize().as_bytes() }
        } else {
            hasher.update(&content);
            Chunk::Part { offset, content }
        };
        let last = matches!(chunk, Chunk::End { .. });
        if sender.blocking_send(Ok(chunk)).is_err() || last {
            return Ok(());
        }
    }
}

fn open(path: &Path) -> io::Result<Body> {
    match read(path) {
        Err(error) if vanished(&error) => Ok(Body::Vanished),
        outcome => outcome,
    }
}

fn read(path: &Path) -> io::Result<Body> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Body::Vanished);
    }
    let expected = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if expected > CHUNK {
        return Ok(Body::Long(file));
    }
    let mut content = Vec::with_capacity(expected + 1);
    // It may have grown since; then it is a long one after all.
    (&mut file).take(CHUNK as u64 + 1).read_to_end(&mut content)?;
    if content.len() > CHUNK {
        file.rewind()?;
        return Ok(Body::Long(file));
    }
    let hash = *blake3::hash(&content).as_bytes();
    Ok(Body::Whole { content, hash })
}
