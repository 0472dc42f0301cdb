//! How much a pull may bring, and how far it has come.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::beneath::Dir;
use super::error::SyncError;

/// The deepest directory that is fetched, below the one that was named.
pub(super) const DEPTH: u32 = 128;

/// The most bytes that all names of a tree may have together, which are held in memory: so many for
/// each entry that there may be, and the least.
const NAME: u64 = 64;
const NAMES: u64 = 64 << 20;

/// Bytes written between two looks at the disk.
const BETWEEN_LOOKS: u64 = 1 << 20;

/// What a pull may bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullOptions {
    /// Bytes of content at most.
    pub max_bytes: u64,
    /// Files, directories and links at most.
    pub max_entries: u64,
    /// Whether links that lead out of what is fetched come too.
    pub outside_links: bool,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self { max_bytes: 16 << 30, max_entries: 1_000_000, outside_links: false }
    }
}

/// Counts against the options, and against the host's disk.
#[derive(Debug)]
pub(super) struct Budget {
    options: PullOptions,
    entries: AtomicU64,
    names: AtomicU64,
    bytes: AtomicU64,
}

impl Budget {
    pub(super) fn new(options: PullOptions) -> Self {
        let [entries, names, bytes] = [const { AtomicU64::new(0) }; 3];
        Self { options, entries, names, bytes }
    }

    /// Counts one entry more of `guest`.
    pub(super) fn entry(&self, guest: &Path, name: &[u8]) -> Result<(), SyncError> {
        let most = self.options.max_entries;
        if self.entries.fetch_add(1, Ordering::Relaxed) >= most {
            return Err(SyncError::FetchTooMany { path: guest.to_owned(), most });
        }
        let length = name.len() as u64;
        // Places among them are numbers of 32 bits.
        let most = most.saturating_mul(NAME).clamp(NAMES, u32::MAX.into());
        if self.names.fetch_add(length, Ordering::Relaxed) + length > most {
            return Err(SyncError::NamesTooLong { path: guest.to_owned(), most });
        }
        Ok(())
    }

    /// Whether so many bytes may come in all.
    pub(super) fn allow(&self, guest: &Path, bytes: u64) -> Result<(), SyncError> {
        let most = self.options.max_bytes;
        if bytes > most {
            return Err(SyncError::FetchTooLarge { path: guest.to_owned(), most });
        }
        Ok(())
    }

    /// Counts bytes that came; returns how many that makes.
    pub(super) fn bytes(&self, guest: &Path, bytes: usize) -> Result<u64, SyncError> {
        let bytes = bytes as u64;
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.allow(guest, all).map(|()| all)
    }
}

/// The disk that a pull writes to, of which it leaves a twentieth of what was free.
#[derive(Debug)]
pub(super) struct Room {
    least: u64,
    written: AtomicU64,
}

impl Room {
    /// Looks at the disk that has the directory.
    pub(super) fn of(directory: &Dir) -> io::Result<Self> {
        Ok(Self { least: directory.free()? / 20, written: AtomicU64::new(0) })
    }

    /// Counts bytes that are to be written, and looks at the disk now and then.
    pub(super) fn take(&self, directory: &Dir, path: &Path, bytes: u64) -> Result<(), SyncError> {
        let before = self.written.fetch_add(bytes, Ordering::Relaxed);
        if before / BETWEEN_LOOKS == (before + bytes) / BETWEEN_LOOKS {
            return Ok(());
        }
        let free = directory.free().map_err(SyncError::unwritable(path))?;
        if free.saturating_sub(bytes) < self.least {
            return Err(SyncError::HostFull { path: path.to_owned(), free, least: self.least });
        }
        Ok(())
    }
}
