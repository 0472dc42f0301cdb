//! The difference between what a mirror holds and what it should hold, as a value. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use super::manifest::{Entry, Kind, Manifest, Timestamp, pairs};

/// What has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file or a link.
    File,
    /// A directory, whose known content goes before it.
    Directory,
    /// Whatever is there, with all that is in it, or nothing.
    Any,
}

/// One path to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// The relative path.
    pub path: OsString,
    /// What is thought to be there.
    pub target: Target,
}

/// One file to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The relative path.
    pub path: OsString,
    /// The length the scan saw, in bytes.
    pub size: u64,
    /// The hash the scan saw.
    pub hash: [u8; 32],
    /// Permission bits.
    pub mode: u32,
    /// Modification time on the host.
    pub mtime: Timestamp,
}

/// One path whose content is right already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataChange {
    /// The relative path.
    pub path: OsString,
    /// Permission bits.
    pub mode: u32,
    /// Modification time, where that changed; directories have none to keep.
    pub mtime: Option<Timestamp>,
}

/// Everything one push does, in the order in which it does it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    fresh: bool,
    pub(super) deletions: Vec<Deletion>,
    pub(super) directories: Vec<OsString>,
    pub(super) symlinks: Vec<(OsString, OsString)>,
    pub(super) uploads: Vec<Upload>,
    pub(super) metadata: Vec<MetadataChange>,
}

impl Plan {
    /// What brings a mirror that holds `old` to `new`; without `old` the mirror is emptied first.
    #[must_use]
    pub fn between(old: Option<&Manifest>, new: &Manifest) -> Self {
        let mut plan = Self { fresh: old.is_none(), ..Self::default() };
        let nothing = Manifest::default();
        for (path, before, after) in pairs(old.unwrap_or(&nothing), new) {
            plan.compare(path, before, after);
        }
        // Parents stand before their content in a manifest; they must go after it.
        plan.deletions.reverse();
        plan
    }

    /// Whether the mirror is right as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.fresh
            && self.deletions.is_empty()
            && self.directories.is_empty()
            && self.symlinks.is_empty()
            && self.uploads.is_empty()
            && self.metadata.is_empty()
    }

    /// How many files are sent.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.uploads.len() as u64
    }

    /// How many bytes of content are sent.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.uploads.iter().map(|upload| upload.size).sum()
    }

    /// Whether nothing is known of the mirror, so that it is emptied first.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// What is removed first, content before its directory.
    #[must_use]
    pub fn deletions(&self) -> &[Deletion] {
        &self.deletions
    }

    /// The directories to make, parents first.
    #[must_use]
    pub fn directories(&self) -> &[OsString] {
        &self.directories
    }

    /// The links to make: path and target.
    #[must_use]
    pub fn symlinks(&self) -> &[(OsString, OsString)] {
        &self.symlinks
    }

    /// The files to send.
    #[must_use]
    pub fn uploads(&self) -> &[Upload] {
        &self.uploads
    }

    /// Modes and times to set at the end; every new directory's mode is among them.
    #[must_use]
    pub fn metadata(&self) -> &[MetadataChange] {
        &self.metadata
    }

    fn compare(&mut self, path: &OsStr, before: Option<&Entry>, after: Option<&Entry>) {
        match (before, after) {
            (Some(before), Some(after)) if before.same_in_mirror(after) => {}
            (Some(before), Some(after)) => self.change(path, before, after),
            (Some(before), None) => self.remove(path, before),
            (None, Some(after)) => self.create(path, after),
            (None, None) => {}
        }
    }

    fn change(&mut self, path: &OsStr, before: &Entry, after: &Entry) {
        match (&before.kind, &after.kind) {
            (Kind::File { .. }, Kind::File { .. }) if before.kind == after.kind => {
                self.set(path, Some(before), after);
            }
            (Kind::File { .. }, Kind::File { .. }) => self.create(path, after),
            (Kind::Directory, Kind::Directory) => self.set(path, Some(before), after),
            _ => {
                self.remove(path, before);
                self.create(path, after);
            }
        }
    }

    fn remove(&mut self, path: &OsStr, before: &Entry) {
        let target = match before.kind {
            Kind::File { .. } | Kind::Symlink { .. } => Target::File,
            Kind::Directory => Target::Directory,
            Kind::Unsure => Target::Any,
        };
        self.deletions.push(Deletion { path: path.to_owned(), target });
    }

    fn create(&mut self, path: &OsStr, after: &Entry) {
        match &after.kind {
            Kind::File { size, hash } => self.uploads.push(Upload {
                path: path.to_owned(),
                size: *size,
                hash: *hash,
                mode: after.mode,
                mtime: after.mtime,
            }),
            Kind::Directory => {
                self.directories.push(path.to_owned());
                self.set(path, None, after);
            }
            Kind::Symlink { target } => self.symlinks.push((path.to_owned(), target.clone())),
            Kind::Unsure => {}
        }
    }

    /// Leaves alone a time that did not change: the mirror may have a later one, from arrival.
    fn set(&mut self, path: &OsStr, before: Option<&Entry>, after: &Entry) {
        let is_file = matches!(after.kind, Kind::File { .. });
        let moved = before
            .is_some_and(|before| before.mtime.whole_seconds() != after.mtime.whole_seconds());
        let mtime = (is_file && moved).then_some(after.mtime);
        self.metadata.push(MetadataChange { path: path.to_owned(), mode: after.mode, mtime });
    }
}

/// How many directories a relative path stands below.
pub(super) fn depth(path: &OsStr) -> usize {
    path.as_bytes().iter().filter(|byte| **byte == b'/').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(entries: &[(&str, Kind, u32, i64)]) -> Manifest {
        let entries = entries
            .iter()
            .map(|(path, kind, mode, seconds)| {
                let mtime = Timestamp { seconds: *seconds, nanos: 7 };
                ((*path).into(), Entry { kind: kind.clone(), mode: *mode, mtime, stamp: None })
            })
            .collect();
        Manifest::new(Timestamp::default(), entries)
    }

    fn file(tag: u8) -> Kind {
        Kind::File { size: u64::from(tag), hash: [tag; 32] }
    }

    fn link(target: &str) -> Kind {
        Kind::Symlink { target: target.into() }
    }

    fn removed(plan: &Plan) -> Vec<(&str, Target)> {
        let names = plan.deletions().iter();
        names.map(|gone| (gone.path.to_str().unwrap(), gone.target)).collect()
    }

    fn sent(plan: &Plan) -> Vec<&str> {
        plan.uploads().iter().map(|upload| upload.path.to_str().unwrap()).collect()
    }

    #[test]
    fn equal_trees_need_nothing() {
        let tree = manifest(&[("a", file(1), 0o644, 1), ("d", Kind::Directory, 0o755, 1)]);
        assert!(Plan::between(Some(&tree), &tree).is_empty());
        // Directory times and fractions of seconds do not travel.
        let mut later = tree.clone();
        later.entries[0].1.mtime.nanos = 9;
        later.entries[1].1.mtime.seconds = 9;
        assert!(Plan::between(Some(&tree), &later).is_empty());
    }

    #[test]
    fn nothing_known_is_never_nothing_to_do() {
        let plan = Plan::between(None, &Manifest::default());
        assert!(plan.is_fresh() && !plan.is_empty());
    }

    #[test]
    fn additions_come_parents_first() {
        let new = manifest(&[
            ("d/e", Kind::Directory, 0o700, 1),
            ("d/e/f", file(9), 0o644, 1),
            ("d", Kind::Directory, 0o755, 1),
            ("l", link("d"), 0o777, 1),
        ]);
        let plan = Plan::between(Some(&Manifest::default()), &new);
        assert_eq!(plan.directories(), ["d", "d/e"]);
        assert_eq!(sent(&plan), ["d/e/f"]);
        assert_eq!(plan.symlinks(), [("l".into(), "d".into())]);
        assert_eq!((plan.files(), plan.bytes()), (1, 9));
        let modes: Vec<_> = plan.metadata().iter().map(|change| change.mode).collect();
        assert_eq!(modes, [0o755, 0o700]);
    }

    #[test]
    fn deletions_come_content_first() {
        let old = manifest(&[
            ("d", Kind::Directory, 0o755, 1),
            ("d/e", Kind::Directory, 0o755, 1),
            ("d/e/f", file(1), 0o644, 1),
            ("d/l", link("x"), 0o777, 1),
        ]);
        let plan = Plan::between(Some(&old), &Manifest::default());
        let expected = [
            ("d/l", Target::File),
            ("d/e/f", Target::File),
            ("d/e", Target::Directory),
            ("d", Target::Directory),
        ];
        assert_eq!(removed(&plan), expected);
    }

    #[test]
    fn a_mode_or_a_time_alone_sends_no_content() {
        let old = manifest(&[
            ("d", Kind::Directory, 0o755, 1),
            ("mode", file(1), 0o644, 1),
            ("time", file(2), 0o644, 1),
        ]);
        let new = manifest(&[
            ("d", Kind::Directory, 0o700, 1),
            ("mode", file(1), 0o755, 1),
            ("time", file(2), 0o644, 2),
        ]);
        let plan = Plan::between(Some(&old), &new);
        let times: Vec<_> = plan.metadata().iter().map(|change| change.mtime).collect();
        assert_eq!(times, [None, None, Some(Timestamp { seconds: 2, nanos: 7 })]);
        assert!(plan.uploads().is_empty() && plan.directories().is_empty());
        assert!(plan.deletions().is_empty());
    }

    #[test]
    fn a_change_of_kind_deletes_first() {
        let old = manifest(&[
            ("a", file(1), 0o644, 1),
            ("b", Kind::Directory, 0o755, 1),
            ("b/x", file(1), 0o644, 1),
            ("c", link("a"), 0o777, 1),
            ("same", link("a"), 0o777, 1),
        ]);
        let new = manifest(&[
            ("a", Kind::Directory, 0o755, 1),
            ("b", link("a"), 0o777, 1),
            ("c", file(3), 0o644, 1),
            ("same", link("b"), 0o777, 1),
        ]);
        let plan = Plan::between(Some(&old), &new);
        let expected = [
            ("same", Target::File),
            ("c", Target::File),
            ("b/x", Target::File),
            ("b", Target::Directory),
            ("a", Target::File),
        ];
        assert_eq!(removed(&plan), expected);
        assert_eq!(plan.directories(), ["a"]);
        assert_eq!(sent(&plan), ["c"]);
        assert_eq!(plan.symlinks().len(), 2);
    }
}
