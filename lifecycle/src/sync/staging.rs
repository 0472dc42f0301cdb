//! The host side of a pull: a private directory beside the target, filled first, then moved in.
//!
//! All names in it come from the guest. Nothing in it was there before, and every path is resolved
//! beneath it or beneath the target's directory without following a link (see `beneath`): no write
//! can go through a link that the guest had us make, now or in an earlier pull.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::FileType;
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::beneath::{Dir, IS_DIRECTORY, kind};
use super::error::SyncError;
use super::options::Room;
use super::place::Place;
use super::tree::{Form, Tree};
use crate::rundir::record::FETCH_PREFIX;

/// What is fetched, in the directory.
const FETCHED: &str = "fetched";

/// What a file or directory gets at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish {
    /// Permission bits; those that lend the owner's rights do not come from a guest.
    pub(super) mode: u32,
    /// Modification time, in seconds.
    pub(super) seconds: Option<u32>,
}

impl Finish {
    /// Without what the process's mask takes from group and world.
    pub(super) fn masked(self, mask: u32) -> Self {
        Self { mode: self.mode & !(mask & 0o022), ..self }
    }

    /// Sets time and mode.
    pub(super) fn give(self, file: &std::fs::File) -> io::Result<()> {
        if let Some(seconds) = self.seconds {
            file.set_modified(UNIX_EPOCH + Duration::from_secs(u64::from(seconds)))?;
        }
        file.set_permissions(std::fs::Permissions::from_mode(self.mode & 0o777))
    }
}

/// A directory beside the target, removed with all that is left in it when dropped.
#[derive(Debug)]
pub(super) struct Staging {
    place: Place,
    name: OsString,
    directory: Dir,
    mask: u32,
    room: Room,
    /// Goes last: whoever waits for our end has its other half.
    _alive: oneshot::Sender<()>,
}

impl Staging {
    /// A name for the one of a run, and the path under which it will be found.
    pub(super) fn name(place: &Place, handle: &str) -> io::Result<(OsString, PathBuf)> {
        let mut number = [0; 8];
        rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
        let mut name = format!("{FETCH_PREFIX}{handle}-");
        for byte in number {
            write!(name, "{byte:02x}").map_err(io::Error::other)?;
        }
        let path = place.directory.path()?.join(&name);
        Ok((name.into(), path))
    }

    /// Makes it.
    pub(super) fn make(
        place: Place,
        name: OsString,
        alive: oneshot::Sender<()>,
    ) -> io::Result<Self> {
        let room = Room::of(&place.directory)?;
        place.directory.make(Path::new(&name), 0o700)?;
        let directory = place.directory.beneath(Path::new(&name))?;
        Ok(Self { place, name, directory, mask: mask(), room, _alive: alive })
    }

    /// Where it is written.
    pub(super) fn directory(&self) -> &Dir {
        &self.directory
    }

    /// Ends a file: so long, with that mode and time.
    pub(super) fn finish(&self, file: &std::fs::File, length: u64, how: Finish) -> io::Result<()> {
        file.set_len(length)?;
        how.masked(self.mask).give(file)
    }

    /// Sees that the disk has room for so many bytes more; `host` is what it is called in messages.
    pub(super) fn room_for(&self, bytes: u64, host: &Path) -> Result<(), SyncError> {
        self.room.take(&self.directory, host, bytes)
    }

    /// The path of an entry in it.
    pub(super) fn path(tree: &Tree, number: u32) -> PathBuf {
        tree.path(Path::new(FETCHED), number)
    }

    /// Moves what was built to the target: into a directory that is there, in place of a file. Looks
    /// first, and moves nothing where something is in the way.
    ///
    /// `host` is what the target is called in messages.
    pub(super) fn install(&self, tree: &Tree, host: &Path) -> Result<(), SyncError> {
        let Place { directory, name } = &self.place;
        let kept = self.look(tree, host)?;
        let is_kept = |number: u32| kept[number as usize];
        let moves = |number: u32| !is_kept(number) && tree.parent(number).is_none_or(is_kept);
        let numbers = || (0_u32..).take(tree.len());
        for number in
            numbers().filter(|number| tree.form(*number) != Form::Skipped && moves(*number))
        {
            let (from, to) = (Self::path(tree, number), tree.path(Path::new(name), number));
            let moved = self.directory.rename(&from, directory, &to);
            moved.map_err(SyncError::unwritable(&tree.path(host, number)))?;
        }
        for number in tree.all(Form::Directory).into_iter().rev().filter(|number| !is_kept(*number))
        {
            let finish = tree.finish(number).masked(self.mask);
            let finished = directory.finish(&tree.path(Path::new(name), number), finish);
            finished.map_err(SyncError::unwritable(&tree.path(host, number)))?;
        }
        Ok(())
    }

    /// Which entries are directories that the host has already.
    fn look(&self, tree: &Tree, host: &Path) -> Result<Vec<bool>, SyncError> {
        let Place { directory, name } = &self.place;
        let mut kept = vec![false; tree.len()];
        for number in (0_u32..).take(tree.len()) {
            let reached = tree.parent(number).is_none_or(|parent| kept[parent as usize]);
            let wanted = match tree.form(number) {
                Form::Skipped => continue,
                _ if !reached => continue,
                Form::Directory => IS_DIRECTORY,
                Form::Link => "a symbolic link",
                Form::File => "a file",
            };
            let path = || tree.path(host, number);
            let found = directory.look(&tree.path(Path::new(name), number));
            let found = found.map_err(|source| SyncError::Unreadable { path: path(), source })?;
            let Some(found) = found.as_ref().map(kind) else { continue };
            match (found == IS_DIRECTORY, wanted == IS_DIRECTORY) {
                (true, true) => kept[number as usize] = true,
                (false, false) => {}
                _ => return Err(SyncError::InTheWay { path: path(), found, wanted }),
            }
        }
        Ok(kept)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = self.place.directory.remove(&self.name) {
            tracing::warn!(%error, "a directory of a fetch stays");
        }
    }
}

/// Removes such a directory of a run that is dead. One that is gone is fine; what is not ours by its
/// name, its owner or its kind is left alone, and so is one that is only reached through a link.
///
/// # Errors
/// Where it cannot be removed.
pub(crate) fn remove(path: &Path, handle: &str) -> io::Result<()> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    if !path.is_absolute() || !is_name(name, handle) {
        return Ok(());
    }
    let above = above.strip_prefix("/").map_err(io::Error::other)?;
    let root = Dir::open("/")?;
    let above = if above.as_os_str().is_empty() { Ok(root) } else { root.beneath(above) };
    let above = match above {
        Err(error) if is_away(&error) => return Ok(()),
        above => above?,
    };
    let Some(found) = above.look(Path::new(name))? else { return Ok(()) };
    let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    if !is_directory || found.st_uid != rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    above.remove(name)
}

/// Whether a path leads nowhere, or through a link, as far as that error says.
fn is_away(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::ACCESS))
}

/// Whether that is the name of one that a run made.
fn is_name(name: &OsStr, handle: &str) -> bool {
    let name = name.to_str().and_then(|name| name.strip_prefix(FETCH_PREFIX)?.strip_prefix(handle));
    let number = name.and_then(|name| name.strip_prefix('-'));
    number.is_some_and(|number| {
        number.len() == 16 && number.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// The mode bits that this process takes from what it makes. Read without changing it, which other
/// threads would see.
fn mask() -> u32 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o022)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use fs_err as fs;

    use super::*;

    const HANDLE: &str = "0123abcd";

    fn left(top: &Path) -> PathBuf {
        let path = top.join(format!("{FETCH_PREFIX}{HANDLE}-0011223344556677"));
        fs::create_dir_all(path.join("fetched/deep")).unwrap();
        path
    }

    #[test]
    fn what_a_dead_run_left_is_removed_and_nothing_else() {
        let top = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(top.path()).unwrap();
        let path = left(&top);
        remove(&path, "fedcba98").unwrap();
        assert!(path.exists(), "of another run");
        remove(&path, HANDLE).unwrap();
        assert!(!path.exists());
        remove(&path, HANDLE).unwrap();
        for name in ["", "-", "-0011", "-0011223344556677x", "-00112233445566zz"] {
            let other = top.join(format!("{FETCH_PREFIX}{HANDLE}{name}"));
            fs::create_dir(&other).unwrap();
            remove(&other, HANDLE).unwrap();
            assert!(other.exists(), "{}", other.display());
        }
    }

    #[test]
    fn nothing_is_removed_by_way_of_a_link() {
        let top = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(top.path()).unwrap();
        fs::create_dir(top.join("real")).unwrap();
        symlink("real", top.join("link")).unwrap();
        let path = left(&top.join("real"));
        let name = path.file_name().unwrap();
        remove(&top.join("link").join(name), HANDLE).unwrap();
        assert!(path.exists());
        symlink(&path, top.join(name)).unwrap();
        remove(&top.join(name), HANDLE).unwrap();
        assert!(path.exists() && top.join(name).is_symlink());
        for odd in ["/", "relative", "/../x"] {
            remove(Path::new(odd), HANDLE).unwrap();
        }
    }

    #[test]
    fn names_are_of_the_form_that_is_removed() {
        let top = tempfile::tempdir().unwrap();
        let place = Place::find(Path::new("/x"), &top.path().join("y")).unwrap();
        let (name, path) = Staging::name(&place, HANDLE).unwrap();
        assert!(is_name(&name, HANDLE), "{name:?}");
        assert_eq!(path.file_name(), Some(name.as_os_str()));
    }

    #[test]
    fn group_and_world_write_as_the_mask_allows() {
        let masked = |mode, mask| Finish { mode, seconds: None }.masked(mask).mode;
        assert_eq!(masked(0o777, 0o022), 0o755);
        assert_eq!(masked(0o666, 0o002), 0o664);
        assert_eq!(masked(0o644, 0o077), 0o644);
    }
}
