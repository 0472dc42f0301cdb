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
use std::sync::Mutex;

use camino::Utf8PathBuf;
use fs_err as fs;
use ignore::{DirEntry, ParallelVisitor, ParallelVisitorBuilder, WalkState};
use rustix::fs::OFlags;

use super::error::SyncError;
use super::manifest::{Entry, Kind, Manifest, Stamp, Timestamp};
use super::roots::Root;
use super::rules;

/// Files up to this length are read in one piece.
const ONE_PIECE: u64 = 1 << 20;

/// Reads what a root holds, with the hashes of `previous` wherever they are certain to be right.
///
/// Directories, regular files and symbolic links count; sockets, pipes and devices are passed
/// over. A file that vanishes meanwhile is passed over too. Blocks; call it off the async threads.
///
/// # Errors
/// Where the root, a directory in it or a file in it cannot be read.
pub fn scan(root: &Root, previous: Option<&Manifest>) -> Result<Manifest, SyncError> {
    let started = Timestamp::now();
    let host = root.host.as_std_path();
    let excluded: HashSet<PathBuf> = root.excluded.iter().map(Into::into).collect();
    let reader = Reader { host, prefix: prefix_length(host), previous };

    fs::read_dir(host).map_err(SyncError::unreadable(host))?;
    // A root that leaves itself out takes along only what is forced.
    let found =
        if excluded.contains(host) { Found::new() } else { reader.walk(host, excluded.clone())? };
    let manifest = Manifest::new(started, found);
    let extra = reader.forced(&root.forced, &manifest, &excluded)?;
    if extra.is_empty() {
        return Ok(manifest);
    }
    Ok(Manifest::new(started, manifest.entries.into_iter().chain(extra).collect()))
}

type Found = Vec<(OsString, Entry)>;

struct Reader<'a> {
    host: &'a Path,
    /// Where the relative part of a path below `host` starts.
    prefix: usize,
    previous: Option<&'a Manifest>,
}

impl Reader<'_> {
    fn walk(&self, tree: &Path, excluded: HashSet<PathBuf>) -> Result<Found, SyncError> {
        let outcome = Mutex::new(Ok(Found::new()));
        let mut builder = Visitors { reader: self, outcome: &outcome };
        rules::walk(tree, excluded).visit(&mut builder);
        outcome.into_inner().expect("no visitor panicked, or the walk had too")
    }

    /// What must come along and the walk did not find, with the directories it stands in.
    fn forced(
        &self,
        forced: &[Utf8PathBuf],
        seen: &Manifest,
        excluded: &HashSet<PathBuf>,
    ) -> Result<Found, SyncError> {
        let mut extra = Found::new();
        for path in forced.iter().map(|path| path.as_std_path()) {
            if !path.starts_with(self.host) || seen.get(self.relative(path)).is_some() {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                extra.extend(self.walk(path, excluded.clone())?);
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
        match self.read_entry(path) {
            Ok(entry) => Ok(entry.map(|entry| (self.relative(path).to_owned(), entry))),
            Err(error) if vanished(&error) => Ok(None),
            Err(source) => Err(SyncError::Unreadable { path: path.to_owned(), source }),
        }
    }

    fn read_entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let metadata = std::fs::symlink_metadata(path)?;
        let kind = metadata.file_type();
        if kind.is_file() {
            return match self.unchanged(path, &metadata) {
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
        Ok(Some(Entry { kind, mode, mtime: Timestamp::modified(&metadata), stamp: None }))
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
    if expected <= ONE_PIECE {
        let mut content = Vec::with_capacity(usize::try_from(expected).unwrap_or(0) + 1);
        file.read_to_end(&mut content)?;
        return Ok((content.len() as u64, *blake3::hash(&content).as_bytes()));
    }
    // Not by a memory map: a file that is cut short meanwhile would kill the process.
    let mut hasher = blake3::Hasher::new();
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

struct Visitors<'a> {
    reader: &'a Reader<'a>,
    outcome: &'a Mutex<Result<Found, SyncError>>,
}

impl<'s> ParallelVisitorBuilder<'s> for Visitors<'s> {
    fn build(&mut self) -> Box<dyn ParallelVisitor + 's> {
        Box::new(Visitor { reader: self.reader, outcome: self.outcome, found: Found::new() })
    }
}

/// One thread's share of a walk, handed over when it is dropped.
struct Visitor<'a> {
    reader: &'a Reader<'a>,
    outcome: &'a Mutex<Result<Found, SyncError>>,
    found: Found,
}

impl ParallelVisitor for Visitor<'_> {
    fn visit(&mut self, entry: Result<DirEntry, ignore::Error>) -> WalkState {
        let found = match entry {
            Ok(entry) if entry.depth() == 0 => Ok(None),
            Ok(entry) => self.reader.entry(entry.path()),
            Err(error) => walk_error(self.reader.host, error),
        };
        match found {
            Ok(Some(found)) => self.found.push(found),
            Ok(None) => {}
            Err(error) => {
                *self.outcome.lock().expect("no visitor panicked") = Err(error);
                return WalkState::Quit;
            }
        }
        WalkState::Continue
    }
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        if let Ok(Ok(all)) = self.outcome.lock().as_deref_mut() {
            all.append(&mut self.found);
        }
    }
}

/// A directory that cannot be listed is an error; one that vanished is not, nor is a bad pattern.
fn walk_error(host: &Path, error: ignore::Error) -> Result<Option<(OsString, Entry)>, SyncError> {
    if error.io_error().is_none_or(vanished) {
        tracing::debug!(%error, "passed over while scanning");
        return Ok(None);
    }
    let path = path_of(&error).unwrap_or(host).to_owned();
    let source = error.into_io_error().expect("it is an I/O error, as just seen");
    Err(SyncError::Unreadable { path, source })
}

fn path_of(error: &ignore::Error) -> Option<&Path> {
    match error {
        ignore::Error::WithPath { path, .. } => Some(path),
        ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => {
            path_of(err)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
