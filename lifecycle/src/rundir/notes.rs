//! Small things that were found out once and hold until something changes, one file each.
//!
//! ```text
//! <notes>/<name>       a note, whole: written beside its place and renamed into it
//! <notes>/.lock-<xx>   held by who is finding out something; names share 256 of these
//! ```
//!
//! Names come from content, so a note that is there is the right one; one that is not costs the work
//! of finding it out again. What a note means is its writer's to say.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::{FileLock, KeyHasher, Layout};
use crate::process::unless_gone;

/// The longest note, in bytes.
const LONGEST: u64 = 32 << 20;

/// How many notes are kept, and how much of them, in bytes: those used longest ago go first.
const MOST: usize = 4096;
const BUDGET: u64 = 256 << 20;

/// How long what a killed writer has begun is left alone.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How long ago a file must have changed for its times to tell of the next change too.
const SETTLED: Duration = Duration::from_secs(2);

/// The notes of one user.
#[derive(Clone, Debug)]
pub struct Notes {
    dir: Utf8PathBuf,
}

impl Notes {
    /// Looks for notes where the layout has them; creates nothing yet.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self { dir: layout.notes() }
    }

    /// Reads a note, and notes that it was used; `None` where there is none.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut file = fs::OpenOptions::new().read(true).open(self.dir.join(name)).ok()?;
        let mut bytes = Vec::new();
        (&mut file).take(LONGEST + 1).read_to_end(&mut bytes).ok()?;
        if bytes.len() as u64 > LONGEST {
            return None;
        }
        if let Err(error) = file.file().set_modified(SystemTime::now()) {
            tracing::debug!(name, %error, "cannot note when it was used");
        }
        Some(bytes)
    }

    /// Writes a note in one step, and removes the oldest ones where there are too many.
    ///
    /// # Errors
    /// Where it is longer than 32 MiB or cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() as u64 > LONGEST {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the note is too long"));
        }
        self.make_dir()?;
        let mut file = tempfile::NamedTempFile::with_prefix_in(".tmp-", &self.dir)?;
        file.write_all(bytes)?;
        file.persist(self.dir.join(name))?;
        self.trim(MOST, BUDGET).map(drop)
    }

    /// Removes a note, if it is there.
    ///
    /// # Errors
    /// Where it cannot be removed.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        unless_gone(fs::remove_file(self.dir.join(name)))
    }

    /// Waits until nobody else finds out what this note is to say; dropping the lock lets the next
    /// one look.
    ///
    /// # Errors
    /// Where there cannot be locks.
    pub async fn turn(&self, name: &str) -> io::Result<FileLock> {
        self.make_dir()?;
        let share = blake3::hash(name.as_bytes()).as_bytes()[0];
        FileLock::exclusive(&self.dir.join(format!(".lock-{share:02x}"))).await
    }

    /// The BLAKE3 digest of a file's content, as hex; read only where the file has changed since the
    /// last time. Blocks; call it off the async threads.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub fn digest(&self, path: &Utf8Path) -> io::Result<String> {
        let name = || {
            let mut hasher = KeyHasher::default();
            Ok::<_, io::Error>(format!("digest-{}", hasher.file("content", path)?.key()))
        };
        let before = name()?;
        let noted = self.read(&before).and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(digest) = noted.filter(|digest| is_digest(digest)) {
            return Ok(digest);
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(fs::File::open(path)?)?;
        let digest = hasher.finalize().to_hex().to_string();
        if is_settled(path)? && name()? == before {
            // It only saves reading.
            if let Err(error) = self.write(&before, digest.as_bytes()) {
                tracing::debug!(%path, %error, "its digest is not noted");
            }
        }
        Ok(digest)
    }

    /// Removes all notes, and returns how many there were.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn clear(&self) -> io::Result<usize> {
        self.trim(0, 0)
    }

    /// Removes the notes used longest ago, until no more than so many and so many bytes are left, and
    /// what killed writers left.
    fn trim(&self, most: usize, budget: u64) -> io::Result<usize> {
        let mut notes = self.notes()?;
        notes.sort_by_key(|(_, used, _)| std::cmp::Reverse(*used));
        let (mut count, mut size, mut removed) = (0, 0, 0);
        for (path, _, length) in notes {
            (count, size) = (count + 1, size + length);
            if count > most || size > budget {
                unless_gone(fs::remove_file(path))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// All notes, when each was used and how long it is; what killed writers left is removed.
    fn notes(&self) -> io::Result<Vec<(Utf8PathBuf, SystemTime, u64)>> {
        let mut found = Vec::new();
        let entries = match self.dir.read_dir_utf8() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            // Somebody else may be removing them, too.
            let Ok(metadata) = entry.metadata() else { continue };
            let used = metadata.modified()?;
            match entry.file_name() {
                name if name.starts_with(".tmp-") => {
                    if used.elapsed().is_ok_and(|age| age > PATIENCE) {
                        unless_gone(fs::remove_file(entry.path()))?;
                    }
                }
                name if name.starts_with('.') => {}
                _ => found.push((entry.into_path(), used, metadata.len())),
            }
        }
        Ok(found)
    }

    /// For this user alone: what tests are called is nobody else's business.
    fn make_dir(&self) -> io::Result<()> {
        if self.dir.is_dir() {
            return Ok(());
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_settled(path: &Utf8Path) -> io::Result<bool> {
    let changed = Duration::from_secs(u64::try_from(fs::metadata(path)?.ctime()).unwrap_or(0));
    let changed = SystemTime::UNIX_EPOCH + changed;
    Ok(SystemTime::now().duration_since(changed).is_ok_and(|age| age > SETTLED))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn notes() -> (tempfile::TempDir, Notes) {
        let dir = tempfile::tempdir().unwrap();
        let notes = Notes::new(&Layout::under(Utf8Path::from_path(dir.path()).unwrap()));
        (dir, notes)
    }

    #[test]
    fn a_note_is_read_as_it_was_written_by_its_user_only() {
        let (_dir, notes) = notes();
        assert_eq!(notes.read("a"), None);
        notes.write("a", b"one").unwrap();
        notes.write("a", b"two").unwrap();
        assert_eq!(notes.read("a").unwrap(), b"two");
        assert_eq!(fs::metadata(&notes.dir).unwrap().permissions().mode() & 0o777, 0o700);
        notes.forget("a").unwrap();
        notes.forget("a").unwrap();
        assert_eq!(notes.read("a"), None);
    }

    #[test]
    fn those_used_longest_ago_go_first() {
        let (_dir, notes) = notes();
        let hour = |hours: u64| SystemTime::now() - Duration::from_secs(3600 * hours);
        for (name, age) in [("old", 3), ("older", 4), ("new", 2)] {
            notes.write(name, b"12345").unwrap();
            let file = fs::File::options().write(true).open(notes.dir.join(name)).unwrap();
            file.file().set_modified(hour(age)).unwrap();
        }
        notes.read("older").unwrap();
        assert_eq!(notes.trim(2, 100).unwrap(), 1);
        assert!(notes.read("old").is_none() && notes.read("older").is_some());
        assert_eq!(notes.trim(2, 9).unwrap(), 1);
        assert_eq!(notes.clear().unwrap(), 1);
    }

    #[test]
    fn what_killed_writers_left_goes_after_a_while() {
        let (_dir, notes) = notes();
        notes.write("a", b"a").unwrap();
        let (dead, live) = (notes.dir.join(".tmp-dead"), notes.dir.join(".tmp-live"));
        let file = fs::File::create(&dead).unwrap();
        file.file().set_modified(SystemTime::now() - 2 * PATIENCE).unwrap();
        fs::write(&live, "").unwrap();
        notes.write("b", b"b").unwrap();
        assert!(!dead.exists() && live.exists());
    }

    #[test]
    fn a_digest_is_of_the_content_whatever_the_times_say() {
        let (dir, notes) = notes();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("program");
        let write = |text: &str| fs::write(&path, text).unwrap();
        write("one");
        let one = notes.digest(&path).unwrap();
        assert_eq!(one, blake3::hash(b"one").to_hex().to_string());
        // Within the same tick of the clock, maybe: nothing was noted yet that could be wrong.
        write("two");
        assert_ne!(notes.digest(&path).unwrap(), one);
        write("one");
        assert_eq!(notes.digest(&path).unwrap(), one);
    }

    /// A file that has stood for a while is read once.
    #[test]
    fn a_settled_file_is_not_read_again() {
        let (_dir, notes) = notes();
        let settled = Utf8Path::new("/bin/sh");
        if !is_settled(settled).unwrap() {
            return;
        }
        let digest = notes.digest(settled).unwrap();
        let noted = notes.notes().unwrap();
        assert_eq!(noted.len(), 1);
        fs::write(&noted[0].0, "0".repeat(64)).unwrap();
        assert_eq!(notes.digest(settled).unwrap(), "0".repeat(64));
        fs::write(&noted[0].0, "not a digest").unwrap();
        assert_eq!(notes.digest(settled).unwrap(), digest);
    }
}
