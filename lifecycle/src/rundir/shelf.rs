//! A directory of things that are made once and used by many processes.
//!
//! ```text
//! <shelf>/<name>/         a thing, whole and never written again; `lock` is shared by its users
//! <shelf>/.lock-<name>    held by who makes or removes it
//! <shelf>/.tmp-<name>/    being made (in `made`), or being removed
//! ```
//!
//! Names come from content, so a thing that is there is the right one. Any process may be killed, and
//! the host lose power, at any time: what is half made is never under its name, and [`Shelf::sweep`]
//! removes it. What is in use, by its lock or by a VM's record, is not removed.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::publish::publish;
use super::record::Uses;
use super::{BootId, FileLock, Layout, Sums, content, leases, private};
use crate::process::unless_gone;

/// The things of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    dir: Utf8PathBuf,
    kind: Kind,
    layout: Layout,
}

/// What is on a shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Layers,
    Templates,
}

impl Kind {
    /// Where they are.
    fn directory(self, layout: &Layout) -> Utf8PathBuf {
        match self {
            Self::Layers => layout.layers(),
            Self::Templates => layout.templates(),
        }
    }

    /// Which of them are in use, of what VMs use.
    fn of(self, uses: Uses) -> BTreeSet<String> {
        match self {
            Self::Layers => uses.layers,
            Self::Templates => uses.templates,
        }
    }
}

/// A thing in use: it is not removed while this lives.
#[must_use = "the thing may be removed when this is dropped"]
#[derive(Debug)]
pub(crate) struct Lease {
    dir: Utf8PathBuf,
    lock: FileLock,
}

impl Lease {
    /// The thing's directory.
    pub(crate) fn dir(&self) -> &Utf8Path {
        &self.dir
    }

    /// The shared lock, for handing it on.
    pub(crate) fn lock(&self) -> &FileLock {
        &self.lock
    }
}

/// The right to make or remove one thing, and a directory to make it in. Dropping it removes what
/// is half made.
#[must_use = "somebody else may make the thing when this is dropped"]
#[derive(Debug)]
pub(crate) struct Turn {
    scratch: Utf8PathBuf,
    place: Utf8PathBuf,
    boot: BootId,
    _lock: FileLock,
}

impl Shelf {
    /// Looks for things where the layout says; creates nothing yet.
    pub(crate) fn new(layout: &Layout, kind: Kind) -> Self {
        Self { dir: kind.directory(layout), kind, layout: layout.clone() }
    }

    /// Where the things are.
    pub(crate) fn dir(&self) -> &Utf8Path {
        &self.dir
    }

    /// Where one thing is, or would be.
    pub(crate) fn place(&self, name: &str) -> Utf8PathBuf {
        self.dir.join(name)
    }

    /// Takes a thing into use, where it is there and whole: `whole` returns its checksums where nothing of
    /// it is missing, and they are looked at once in each boot of the host, after `checking` is called.
    pub(crate) async fn open(
        &self,
        name: &str,
        whole: impl Fn(&Utf8Path) -> Option<Sums>,
        checking: impl FnOnce(),
    ) -> io::Result<Option<Lease>> {
        let dir = self.place(name);
        let path = dir.join("lock");
        // Nobody holds it exclusively for long: only removing does, and a glance by a listing.
        let lock = match FileLock::shared(&path).await {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Between opening the file and locking it the thing may have been removed or replaced.
        let Some(sums) = lock.is_current().then(|| whole(&dir)).flatten() else { return Ok(None) };
        let files = dir.clone();
        let damage = move || sums.damage(&files);
        if let Some(damage) = content::check(&dir, self.layout.boot(), checking, damage).await? {
            tracing::warn!(%dir, damage, "not used");
            return Ok(None);
        }
        if let Err(error) = lock.file().set_modified(SystemTime::now()) {
            tracing::debug!(%dir, %error, "cannot note when it was used");
        }
        Ok(Some(Lease { dir, lock }))
    }

    /// Takes the turn to make a thing; calls `waiting` where somebody else has it.
    pub(crate) async fn turn(&self, name: &str, waiting: impl FnOnce()) -> io::Result<Turn> {
        private::create_dir_all(&self.dir)?;
        let path = self.lock_path(name);
        let mut lock = match FileLock::try_exclusive(&path)? {
            Some(lock) => lock,
            None => {
                waiting();
                FileLock::exclusive(&path).await?
            }
        };
        // Removing a thing removes its lock too.
        while !lock.is_current() {
            lock = FileLock::exclusive(&path).await?;
        }
        Ok(self.turn_of(name, lock))
    }

    /// Takes the turn to make a thing, unless somebody else has it.
    pub(crate) fn try_turn(&self, name: &str) -> io::Result<Option<Turn>> {
        private::create_dir_all(&self.dir)?;
        let lock = FileLock::try_exclusive(&self.lock_path(name))?;
        let ours = lock.filter(FileLock::is_current);
        Ok(ours.map(|lock| self.turn_of(name, lock)))
    }

    fn turn_of(&self, name: &str, lock: FileLock) -> Turn {
        let boot = self.layout.boot().clone();
        Turn { scratch: self.scratch(name), place: self.place(name), boot, _lock: lock }
    }

    /// Removes a thing; `false` where somebody uses it, makes it or removes it.
    pub(crate) fn remove(&self, name: &str) -> io::Result<bool> {
        let turn = FileLock::try_exclusive_patiently(&self.lock_path(name))?;
        let Some(turn) = turn.filter(FileLock::is_current) else { return Ok(false) };
        let dir = self.place(name);
        if !dir.exists() {
            // Somebody else has removed it, and its lock, which we have made again.
            fs::remove_file(turn.path())?;
            return Ok(false);
        }
        let Some(_unused) = FileLock::try_exclusive_patiently(&dir.join("lock"))? else {
            return Ok(false);
        };
        if self.leased()?.contains(name) {
            return Ok(false);
        }
        // In one step out of sight, then at leisure; a kill in between leaves it to the sweep.
        let scratch = self.scratch(name);
        remove_if_there(&scratch)?;
        fs::rename(&dir, &scratch)?;
        fs::remove_dir_all(&scratch)?;
        fs::remove_file(turn.path())?;
        Ok(true)
    }

    /// Puts a thing out of sight although it may be in use: who uses it keeps the open files.
    pub(crate) async fn discard(&self, name: &str) -> io::Result<()> {
        let turn = self.turn(name, || {}).await?;
        turn.clear().await?;
        unless_gone(fs::rename(&turn.place, &turn.scratch))?;
        turn.clear().await
    }

    /// The working directories of makers that were killed.
    pub(crate) fn unfinished(&self) -> io::Result<Vec<Utf8PathBuf>> {
        self.visit_unfinished(|_| Ok(()))
    }

    /// Removes those, and returns them; and locks of what is not there any more.
    pub(crate) fn sweep(&self) -> io::Result<Vec<Utf8PathBuf>> {
        let swept = self.visit_unfinished(remove_if_there)?;
        for name in self.entries()? {
            let Some(name) = name.strip_prefix(".lock-") else { continue };
            if self.place(name).exists() {
                continue;
            }
            let lock = FileLock::try_exclusive(&self.lock_path(name))?;
            // Whoever has the lock may be making it.
            if let Some(lock) = lock.filter(|lock| lock.is_current() && !self.place(name).exists())
            {
                fs::remove_file(lock.path())?;
            }
        }
        Ok(swept)
    }

    fn visit_unfinished(
        &self,
        visit: impl Fn(&Utf8Path) -> io::Result<()>,
    ) -> io::Result<Vec<Utf8PathBuf>> {
        let mut found = Vec::new();
        for name in self.entries()? {
            let Some(name) = name.strip_prefix(".tmp-") else { continue };
            if let Some(_turn) = FileLock::try_exclusive(&self.lock_path(name))? {
                visit(&self.scratch(name))?;
                found.push(self.scratch(name));
            }
        }
        Ok(found)
    }

    /// The names of all things.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.entries()?.into_iter().filter(|name| !name.starts_with('.')).collect())
    }

    /// Whether somebody uses a thing, be it a VM that nobody attends to.
    pub(crate) fn in_use(&self, name: &str) -> bool {
        let lock = FileLock::try_exclusive_patiently(&self.place(name).join("lock"));
        matches!(lock, Ok(None)) || self.leased().is_ok_and(|leased| leased.contains(name))
    }

    /// The things that VMs' records name.
    fn leased(&self) -> io::Result<BTreeSet<String>> {
        leases::leased(&self.layout).map(|uses| self.kind.of(uses))
    }

    /// When a thing was last taken into use.
    pub(crate) fn used(&self, name: &str) -> SystemTime {
        let lock = fs::metadata(self.place(name).join("lock"));
        lock.and_then(|lock| lock.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn entries(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn lock_path(&self, name: &str) -> Utf8PathBuf {
        self.dir.join(format!(".lock-{name}"))
    }

    fn scratch(&self, name: &str) -> Utf8PathBuf {
        self.dir.join(format!(".tmp-{name}"))
    }
}

impl Turn {
    /// Makes the directory to work in, empty, and in it the one that [`Turn::publish`] moves.
    pub(crate) async fn begin(&self) -> io::Result<(Utf8PathBuf, Utf8PathBuf)> {
        self.clear().await?;
        let made = self.made();
        private::create_dir_all(&made)?;
        Ok((self.scratch.clone(), made))
    }

    /// Where the thing will be.
    pub(crate) fn place(&self) -> &Utf8Path {
        &self.place
    }

    /// Puts what was made where users look, in the place of a damaged one, once it is on disk; off the
    /// async threads.
    pub(crate) async fn publish(&self) -> io::Result<()> {
        let Self { scratch, place, boot, _lock: _ } = self;
        let (made, damaged) = (self.made(), scratch.join("damaged"));
        let (place, boot) = (place.clone(), boot.clone());
        let publishing = move || {
            fs::write(made.join("lock"), "")?;
            content::note_whole(&made, &boot)?;
            close_to_others(&made)?;
            if place.exists() {
                // Who has it open keeps its files.
                fs::rename(&place, damaged)?;
            }
            publish(&made, &place)
        };
        tokio::task::spawn_blocking(publishing).await.map_err(io::Error::other)?
    }

    /// Removes the working directory, which may hold tens of thousands of files, off the async
    /// threads.
    pub(crate) async fn clear(&self) -> io::Result<()> {
        let dir = self.scratch.clone();
        tokio::task::spawn_blocking(move || remove_if_there(&dir))
            .await
            .map_err(io::Error::other)?
    }

    fn made(&self) -> Utf8PathBuf {
        self.scratch.join("made")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Err(error) = remove_if_there(&self.scratch) {
            tracing::warn!(%error, "what is half made stays");
        }
    }
}

/// Takes from others what they may do with the files in a directory.
fn close_to_others(dir: &Utf8Path) -> io::Result<()> {
    for entry in dir.read_dir_utf8()? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}

fn remove_if_there(dir: &Utf8Path) -> io::Result<()> {
    unless_gone(fs::remove_dir_all(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf() -> (tempfile::TempDir, Shelf) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
        let shelf = Shelf::new(&layout, Kind::Layers);
        (dir, shelf)
    }

    async fn make(shelf: &Shelf, name: &str) {
        let turn = shelf.turn(name, || {}).await.unwrap();
        let (_, made) = turn.begin().await.unwrap();
        fs::write(made.join("content"), name).unwrap();
        turn.publish().await.unwrap();
        turn.clear().await.unwrap();
    }

    #[tokio::test]
    async fn a_lock_on_a_thing_that_was_replaced_meanwhile_does_not_count() {
        let (_dir, shelf) = shelf();
        make(&shelf, "a").await;
        let path = shelf.place("a").join("lock");
        let lock = FileLock::try_shared(&path).unwrap().unwrap();
        assert!(lock.is_current());
        fs::remove_file(&path).unwrap();
        assert!(!lock.is_current());
        fs::write(&path, "").unwrap();
        assert!(!lock.is_current());
    }

    #[tokio::test]
    async fn what_is_in_use_is_not_removed_but_may_be_put_out_of_sight() {
        let (_dir, shelf) = shelf();
        make(&shelf, "a").await;
        let lease = shelf.open("a", |_| Some(Sums::default()), || {}).await.unwrap().unwrap();
        assert!(shelf.in_use("a") && !shelf.remove("a").unwrap());
        shelf.discard("a").await.unwrap();
        assert!(shelf.open("a", |_| Some(Sums::default()), || {}).await.unwrap().is_none());
        drop(lease);
        make(&shelf, "a").await;
        assert!(shelf.remove("a").unwrap());
        assert!(shelf.names().unwrap().is_empty());
    }
}
