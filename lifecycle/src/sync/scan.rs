//! Reads a host tree into a [`Manifest`]. It decides nothing about what to send.
//!
//! A file is read only where its size, times or inode differ from the previous scan's, or where it
//! changed so shortly before that scan that a later write could have left the same times.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use camino::Utf8PathBuf;
use fs_err as fs;
use rustix::fs::OFlags;

use super::error::SyncError;
use super::manifest::{Entry, Kind, Manifest, Stamp, Timestamp};
use super::roots::Root;
use super::rules::RuleBook;
use super::walk;
use crate::workspace::Trust;

/// Files up to this length are read in one piece.
const ONE_PIECE: u64 = 1 << 20;

/// How much the files of a root may have together, in GiB: what a workspace disk holds.
const MOST_GIB: u64 = 64;

/// What a scan found.
#[derive(Debug)]
pub struct Scan {
    /// What the root holds.
    pub manifest: Manifest,
    /// The ignore files of an untrusted root that are not obeyed: links, devices, too long ones.
    pub passed_over: Vec<PathBuf>,
}

/// Reads what a root holds, with the hashes of `previous` wherever they are certain to be right.
///
/// Directories, regular files and symbolic links count; sockets, pipes and devices are passed
/// over. A file that vanishes meanwhile is passed over too. Blocks; call it off the async threads.
///
/// # Errors
/// Where the root, a directory in it or a file in it cannot be read; where an ignore file cannot be
/// obeyed and the root is trusted; where it holds too many entries, or too much, or is too deep.
pub fn scan(root: &Root, previous: Option<&Manifest>) -> Result<Manifest, SyncError> {
    scan_tree(root, previous).map(|scan| scan.manifest)
}

/// The same, with what else is to be told of it.
///
/// # Errors
/// As [`scan`].
pub fn scan_tree(root: &Root, previous: Option<&Manifest>) -> Result<Scan, SyncError> {
    let started = Timestamp::now();
    let host = root.host.as_std_path();
    let reader = Reader {
        host,
        prefix: prefix_length(host),
        previous,
        excluded: root.excluded.iter().map(Into::into).collect(),
        trust: root.trust,
        passed_over: Mutex::default(),
        entries: AtomicUsize::new(0),
        bytes: AtomicU64::new(0),
    };
    fs::read_dir(host).map_err(SyncError::unreadable(host))?;
    // A root that leaves itself out takes along only what is forced.
    let found = if reader.excluded.contains(host) { Found::new() } else { reader.walk(host)? };
    let mut manifest = Manifest::new(started, found);
    let extra = reader.forced(&root.forced, &manifest)?;
    if !extra.is_empty() {
        manifest = Manifest::new(started, manifest.entries.into_iter().chain(extra).collect());
    }
    let mut passed_over = reader.passed_over.into_inner().unwrap_or_else(PoisonError::into_inner);
    passed_over.sort();
    passed_over.dedup();
    Ok(Scan { manifest, passed_over })
}

type Found = Vec<(OsString, Entry)>;

struct Reader<'a> {
    host: &'a Path,
    /// Where the relative part of a path below `host` starts.
    prefix: usize,
    previous: Option<&'a Manifest>,
    excluded: HashSet<PathBuf>,
    trust: Trust,
    passed_over: Mutex<Vec<PathBuf>>,
    /// What was found so far.
    entries: AtomicUsize,
    bytes: AtomicU64,
}

impl Reader<'_> {
    fn walk(&self, tree: &Path) -> Result<Found, SyncError> {
        let (book, above) = RuleBook::open(tree, &self.excluded, self.trust, &self.passed_over)?;
        walk::walk(tree, &book, above, |path| self.entry(path))
    }

    /// What must come along and the walk did not find, with the directories it stands in.
    fn forced(&self, forced: &[Utf8PathBuf], seen: &Manifest) -> Result<Found, SyncError> {
        let mut extra = Found::new();
        for path in forced.iter().map(|path| path.as_std_path()) {
            if !path.starts_with(self.host) || seen.get(self.relative(path)).is_some() {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                extra.extend(self.walk(path)?);
            }
            for path in path.ancestors().take_while(|path| *path != self.host) {
                extra.extend(self.entry(path)?);
            }
        }
        Ok(extra)
    }

    fn relative<'p>(&self, path: &'p Path) -> &'p OsStr {
        let bytes = path.as_os_str().as_bytes();
        OsStr::from_bytes(bytes.get(self.prefix..).unwrap_or_default())
    }

    /// One path's entry; `None` where it is gone or of no kind that travels.
    fn entry(&self, path: &Path) -> Result<Option<(OsString, Entry)>, SyncError> {
        let entry = match std::fs::symlink_metadata(path) {
            Ok(metadata) => {
                // Before it is read, which may take hours.
                self.count(path, &metadata)?;
                self.read_entry(path, &metadata)
            }
            Err(error) => Err(error),
        };
        match entry {
            Ok(entry) => Ok(entry.map(|entry| (self.relative(path).to_owned(), entry))),
            Err(error) if vanished(&error) => Ok(None),
            Err(source) => Err(SyncError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// Keeps within what a root may hold.
    fn count(&self, path: &Path, metadata: &std::fs::Metadata) -> Result<(), SyncError> {
        if self.entries.fetch_add(1, Ordering::Relaxed) >= walk::MOST {
            return Err(SyncError::TooMany { path: self.host.to_owned(), limit: walk::MOST });
        }
        let size = if metadata.is_file() { metadata.len() } else { 0 };
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        if before.saturating_add(size) > MOST_GIB << 30 {
            return Err(SyncError::TooLarge { path: path.to_owned(), limit: MOST_GIB });
        }
        Ok(())
    }

    fn read_entry(&self, path: &Path, metadata: &std::fs::Metadata) -> io::Result<Option<Entry>> {
        let kind = metadata.file_type();
        if kind.is_file() {
            return match self.unchanged(path, metadata) {
                Some(entry) => Ok(Some(entry)),
                None => read_file(path),
            };
        }
        let kind = if kind.is_dir() {
            Kind::Directory
        } else if kind.is_symlink() {
            Kind::Symlink { target: std::fs::read_link(path)?.into_os_string() }
        } else {
            tracing::debug!(path = %path.display(), "not a file, directory or link: left out");
            return Ok(None);
        };
        let mode = metadata.mode() & 0o7777;
        Ok(Some(Entry { kind, mode, mtime: Timestamp::modified(metadata), stamp: None }))
    }

    /// The file's entry with the hash of the previous scan, where that is safe.
    ///
    /// Whatever writes a file moves its change time, which nobody can set; so it is that time
    /// which must have been settled when the previous scan read the file.
    fn unchanged(&self, path: &Path, metadata: &std::fs::Metadata) -> Option<Entry> {
        let previous = self.previous?;
        let old = previous.get(self.relative(path))?;
        let Kind::File { size, .. } = old.kind else {
            return None;
        };
        let stamp = Stamp { inode: metadata.ino(), ctime: Timestamp::changed(metadata) };
        let same = size == metadata.len()
            && old.stamp == Some(stamp)
            && old.mtime == Timestamp::modified(metadata);
        let settled = previous.trusts(&stamp);
        // The mode cannot have changed either: that moves the change time too.
        (same && settled).then(|| old.clone())
    }
}

/// Reads and hashes a file; `None` where a file no longer stands there.
fn read_file(path: &Path) -> io::Result<Option<Entry>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(None);
    }
    let (size, hash) = hash(&mut file, before.len())?;
    let after = file.metadata()?;
    let stamp = Stamp { inode: after.ino(), ctime: Timestamp::changed(&after) };
    let steady = Timestamp::changed(&before) == stamp.ctime && before.len() == size;
    Ok(Some(Entry {
        kind: Kind::File { size, hash },
        mode: after.mode() & 0o7777,
        mtime: Timestamp::modified(&after),
        stamp: steady.then_some(stamp),
    }))
}

/// The length and the hash of all that can be read.
fn hash(file: &mut std::fs::File, expected: u64) -> io::Result<(u64, [u8; 32])> {
    let mut hasher = blake3::Hasher::new();
    if expected <= ONE_PIECE {
        let mut content = Vec::with_capacity(usize::try_from(expected).unwrap_or(0) + 1);
        file.take(ONE_PIECE + 1).read_to_end(&mut content)?;
        hasher.update(&content);
        if content.len() as u64 <= ONE_PIECE {
            return Ok((hasher.count(), *hasher.finalize().as_bytes()));
        }
        // It has grown meanwhile, and may go on.
    }
    // Not by a memory map: a file that is cut short meanwhile would kill the process.
    hasher.update_reader(file)?;
    Ok((hasher.count(), *hasher.finalize().as_bytes()))
}

fn prefix_length(host: &Path) -> usize {
    let bytes = host.as_os_str().as_bytes();
    bytes.len() + usize::from(!bytes.ends_with(b"/"))
}

/// Whether the path went away, or turned into something else, since the walk saw it.
pub(super) fn vanished(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

#[cfg(test)]
mod tests;
