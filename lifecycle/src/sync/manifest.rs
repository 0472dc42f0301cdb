//! What one synced tree holds, by path: the value that scans make and plans compare.
//!
//! It does not read trees (that is `scan`) nor know its own bytes on disk (that is `codec`).

use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use camino::Utf8Path;

use super::codec;
use super::error::SyncError;
use super::push::{Correction, Sent};

/// How much older than a scan a change must be for that scan's hash to be trusted, in seconds.
const SETTLED: i64 = 2;

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// The rest, below 1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// The time now, by this host's clock.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos(),
        }
    }

    /// The nearest that SFTP version 3 can say: whole seconds, rounded down, in 32 bits.
    #[must_use]
    pub fn whole_seconds(self) -> u32 {
        u32::try_from(self.seconds.max(0)).unwrap_or(u32::MAX)
    }

    pub(super) fn modified(metadata: &Metadata) -> Self {
        Self { seconds: metadata.mtime(), nanos: nanos(metadata.mtime_nsec()) }
    }

    pub(super) fn changed(metadata: &Metadata) -> Self {
        Self { seconds: metadata.ctime(), nanos: nanos(metadata.ctime_nsec()) }
    }
}

fn nanos(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

/// What proves, with the size and the modification time, that a file was not written since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The inode number.
    pub inode: u64,
    /// When the inode last changed.
    pub ctime: Timestamp,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// The BLAKE3 hash of its content.
        hash: [u8; 32],
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it points to, as written.
        target: OsString,
    },
    /// Nobody knows: a push that would have changed it may have died.
    Unsure,
}

/// One path's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its permission bits (`0o7777`).
    pub mode: u32,
    /// When its content last changed.
    pub mtime: Timestamp,
    /// Lets the next scan trust the hash without reading the file; only files have one.
    pub stamp: Option<Stamp>,
}

/// What a tree holds: entries by relative path, sorted by the paths' bytes, so that a directory
/// stands before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub(super) scanned: Timestamp,
    pub(super) entries: Vec<(OsString, Entry)>,
}

impl Manifest {
    /// Makes a manifest of entries in any order; of two at one path the first counts.
    #[must_use]
    pub fn new(scanned: Timestamp, mut entries: Vec<(OsString, Entry)>) -> Self {
        // Scans yield long sorted runs, which the stable sort merges.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.dedup_by(|(later, _), (first, _)| later == first);
        Self { scanned, entries }
    }

    /// Reads a saved manifest; one that is missing, damaged or of another version is no manifest.
    #[must_use]
    pub fn load(path: &Utf8Path) -> Option<Self> {
        codec::load(path)
    }

    /// Saves it, replacing the file in one step.
    ///
    /// # Errors
    /// Where the file or its directory cannot be written.
    pub fn save(&self, path: &Utf8Path) -> Result<(), SyncError> {
        codec::save(self, path).map_err(SyncError::unwritable(path.as_std_path()))
    }

    /// Whether a file that looks as it did at this scan is sure to hold the same.
    pub(super) fn trusts(&self, stamp: &Stamp) -> bool {
        stamp.ctime.seconds.saturating_add(SETTLED) < self.scanned.seconds
    }

    /// Whether some files had changed so shortly before this scan that the next must read them
    /// again.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        self.entries.iter().filter_map(|(_, entry)| entry.stamp).any(|stamp| !self.trusts(&stamp))
    }

    /// The entry at a path.
    #[must_use]
    pub fn get(&self, path: &OsStr) -> Option<&Entry> {
        self.position(path).ok().map(|index| &self.entries[index].1)
    }

    /// All entries, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_os_str(), entry))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the mirror may hold while it is brought from `old` to `new`: save this before a push,
    /// and a push that dies is repaired by the next one.
    #[must_use]
    pub fn interim(old: Option<&Self>, new: &Self) -> Self {
        let empty = Self::default();
        let old = old.unwrap_or(&empty);
        let entries = pairs(old, new)
            .map(|(path, before, after)| (path.to_owned(), between(before, after)))
            .collect();
        Self { scanned: old.scanned, entries }
    }

    /// Takes in what a push found out, so that this manifest says what the mirror really holds.
    pub fn amend(&mut self, sent: &Sent) {
        for correction in &sent.corrections {
            match correction {
                Correction::Changed { path, size, hash } => {
                    if let Ok(index) = self.position(path) {
                        let entry = &mut self.entries[index].1;
                        entry.kind = Kind::File { size: *size, hash: *hash };
                        entry.stamp = None;
                    }
                }
                Correction::Vanished { path } => {
                    if let Ok(index) = self.position(path) {
                        self.entries.remove(index);
                    }
                }
            }
        }
    }

    pub(super) fn position(&self, path: &OsStr) -> Result<usize, usize> {
        self.entries.binary_search_by(|(candidate, _)| candidate.as_os_str().cmp(path))
    }
}

/// Walks two manifests side by side: every path of either, with its entry on both sides.
pub(super) fn pairs<'a>(
    old: &'a Manifest,
    new: &'a Manifest,
) -> impl Iterator<Item = (&'a OsStr, Option<&'a Entry>, Option<&'a Entry>)> {
    let (mut left, mut right) = (old.entries.as_slice(), new.entries.as_slice());
    std::iter::from_fn(move || match (left.split_first(), right.split_first()) {
        (None, None) => None,
        (Some(((path, entry), rest)), None) => {
            left = rest;
            Some((path.as_os_str(), Some(entry), None))
        }
        (None, Some(((path, entry), rest))) => {
            right = rest;
            Some((path.as_os_str(), None, Some(entry)))
        }
        (Some(((a, before), after_left)), Some(((b, after), after_right))) => match a.cmp(b) {
            std::cmp::Ordering::Less => {
                left = after_left;
                Some((a.as_os_str(), Some(before), None))
            }
            std::cmp::Ordering::Greater => {
                right = after_right;
                Some((b.as_os_str(), None, Some(after)))
            }
            std::cmp::Ordering::Equal => {
                (left, right) = (after_left, after_right);
                Some((a.as_os_str(), Some(before), Some(after)))
            }
        },
    })
}

/// An entry that no scan can equal where the two differ, but of the same kind where that is sure:
/// a directory must not be thought unsure because of its mode, or its content would be lost.
fn between(before: Option<&Entry>, after: Option<&Entry>) -> Entry {
    let unsure = |kind| Entry { kind, mode: u32::MAX, mtime: Timestamp::default(), stamp: None };
    match (before, after) {
        (Some(before), Some(after)) if before.same_in_mirror(after) => before.clone(),
        (Some(before), Some(after)) => match (&before.kind, &after.kind) {
            (Kind::File { .. }, Kind::File { .. }) => {
                unsure(Kind::File { size: u64::MAX, hash: [0; 32] })
            }
            (Kind::Directory, Kind::Directory) => unsure(Kind::Directory),
            _ => unsure(Kind::Unsure),
        },
        _ => unsure(Kind::Unsure),
    }
}

impl Entry {
    /// Whether the mirror would be the same with either: the stamp, the fraction of a second and
    /// what a link or a directory has besides are not sent.
    pub(super) fn same_in_mirror(&self, other: &Self) -> bool {
        self.kind == other.kind
            && match self.kind {
                Kind::File { .. } => {
                    self.mode == other.mode
                        && self.mtime.whole_seconds() == other.mtime.whole_seconds()
                }
                Kind::Directory => self.mode == other.mode,
                Kind::Symlink { .. } => true,
                Kind::Unsure => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::plan::Plan;

    fn entry(kind: Kind) -> Entry {
        Entry { kind, mode: 0o644, mtime: Timestamp { seconds: 5, nanos: 6 }, stamp: None }
    }

    fn file(content: &str) -> Entry {
        entry(Kind::File {
            size: content.len() as u64,
            hash: *blake3::hash(content.as_bytes()).as_bytes(),
        })
    }

    fn manifest(entries: &[(&str, Entry)]) -> Manifest {
        let entries = entries.iter().map(|(path, entry)| (path.into(), entry.clone())).collect();
        Manifest::new(Timestamp::default(), entries)
    }

    #[test]
    fn entries_are_sorted_and_unique() {
        let tree = manifest(&[("b", file("1")), ("a", file("2")), ("b", file("3"))]);
        assert_eq!(tree.len(), 2);
        assert_eq!(tree.get(OsStr::new("b")), Some(&file("1")));
        assert_eq!(tree.get(OsStr::new("c")), None);
    }

    #[test]
    fn an_interim_manifest_makes_the_next_plan_repeat_every_difference() {
        let old = manifest(&[
            ("d", entry(Kind::Directory)),
            ("d/same", file("same")),
            ("gone", file("gone")),
            ("text", file("old")),
            ("turned", file("file")),
        ]);
        let mut open = entry(Kind::Directory);
        open.mode = 0o700;
        let new = manifest(&[
            ("d", open),
            ("d/same", file("same")),
            ("fresh", file("fresh")),
            ("text", file("new")),
            ("turned", entry(Kind::Directory)),
        ]);
        let interim = Manifest::interim(Some(&old), &new);

        // The push died before it did anything, or just before its end: the same plan.
        let plan = Plan::between(Some(&interim), &new);
        let uploads: Vec<_> = plan.uploads().iter().map(|upload| upload.path.clone()).collect();
        assert_eq!(uploads, ["fresh", "text"]);
        let deleted: Vec<_> = plan.deletions().iter().map(|gone| gone.path.clone()).collect();
        assert!(deleted.contains(&"gone".into()) && deleted.contains(&"turned".into()));
        assert!(!deleted.contains(&"d".into()), "a directory with good content is kept");
        let modes: Vec<_> = plan.metadata().iter().map(|change| change.path.clone()).collect();
        assert_eq!(modes, ["d", "turned"]);

        // The user undid everything after the dead push: the old state is put back.
        let plan = Plan::between(Some(&interim), &old);
        let uploads: Vec<_> = plan.uploads().iter().map(|upload| upload.path.clone()).collect();
        assert_eq!(uploads, ["gone", "text", "turned"]);
        assert!(plan.deletions().iter().any(|deletion| deletion.path == "fresh"));
    }

    #[test]
    fn an_amended_manifest_says_what_was_really_sent() {
        let mut tree = manifest(&[("a", file("planned")), ("b", file("planned"))]);
        let sent = Sent {
            corrections: vec![
                Correction::Changed { path: "a".into(), size: 3, hash: [7; 32] },
                Correction::Vanished { path: "b".into() },
            ],
            ..Sent::default()
        };
        tree.amend(&sent);
        assert_eq!(tree.len(), 1);
        let expected = Kind::File { size: 3, hash: [7; 32] };
        assert_eq!(tree.get(OsStr::new("a")).map(|entry| &entry.kind), Some(&expected));
    }
}
