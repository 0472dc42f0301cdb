//! Paths beneath an open directory of the host: nothing on the way may be a link, whoever put it
//! there and whenever, so that no name leads out of the directory.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::staging::Finish;

/// How often the kernel is asked again where something was moved while it looked.
const ATTEMPTS: usize = 64;

const DIRECTORY: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open directory. Paths given to it are relative and have plain components only.
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

impl Dir {
    /// Opens a directory by a path of our own, or by one that stands for itself: `/`, `.`.
    pub(super) fn open(path: &str) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens a directory beneath this one.
    pub(super) fn beneath(&self, path: &Path) -> io::Result<Self> {
        self.resolve(path, DIRECTORY, Mode::empty()).map(Self)
    }

    /// Opens the directory above this one, wherever that is.
    pub(super) fn above(&self) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, "..", DIRECTORY, Mode::empty())?))
    }

    /// Makes a directory.
    pub(super) fn make(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.in_parent(path, |parent, name| {
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(mode))
        })
    }

    /// Makes a file that only we may use for now, where nothing is yet.
    pub(super) fn create(&self, path: &Path) -> io::Result<std::fs::File> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.resolve(path, flags, Mode::RUSR | Mode::WUSR).map(Into::into)
    }

    /// Makes a link where nothing is yet.
    pub(super) fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        self.in_parent(path, |parent, name| rustix::fs::symlinkat(target, parent, name))
    }

    /// Moves something to a path beneath another directory, in place of a file or link there.
    pub(super) fn rename(&self, from: &Path, other: &Self, to: &Path) -> io::Result<()> {
        self.in_parent(from, |parent, name| {
            let moved =
                |other: BorrowedFd<'_>, to: &OsStr| rustix::fs::renameat(parent, name, other, to);
            Ok(other.in_parent(to, moved))
        })?
    }

    /// What is at a path; `None` where nothing is.
    pub(super) fn look(&self, path: &Path) -> io::Result<Option<Stat>> {
        let found = self.in_parent(path, |parent, name| {
            rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        });
        match found {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// What the directory itself is.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.0, "", AtFlags::EMPTY_PATH)?)
    }

    /// Where a link in this directory leads.
    pub(super) fn read_link(&self, name: &OsStr) -> io::Result<PathBuf> {
        use std::os::unix::ffi::OsStringExt as _;
        let target = rustix::fs::readlinkat(&self.0, name, Vec::new())?;
        Ok(std::ffi::OsString::from_vec(target.into_bytes()).into())
    }

    /// Sets the mode and time of a directory beneath this one.
    pub(super) fn finish(&self, path: &Path, how: Finish) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        how.give(&self.resolve(path, flags, Mode::empty())?.into())
    }

    /// How many bytes its file system has for us.
    pub(super) fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::fstatvfs(&self.0)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// Removes a directory in this one with all that is in it.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        // The kernel finds our descriptor by this path, wherever the directory was moved.
        fs_err::remove_dir_all(self.path_now().join(name))
    }

    /// A path that means this very directory for as long as it is open.
    fn path_now(&self) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// The path under which it is known now, without links.
    pub(super) fn path(&self) -> io::Result<PathBuf> {
        fs_err::read_link(self.path_now())
    }

    /// Does something to a name in the directory that has it.
    fn in_parent<T>(
        &self,
        path: &Path,
        work: impl FnOnce(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> io::Result<T> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL.into());
        };
        if parent.as_os_str().is_empty() {
            return Ok(work(self.0.as_fd(), name)?);
        }
        let parent = self.resolve(parent, DIRECTORY, Mode::empty())?;
        Ok(work(parent.as_fd(), name)?)
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        for _ in 0..ATTEMPTS {
            match rustix::fs::openat2(&self.0, path, flags, mode, resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                // An old kernel, or a container that lets nobody ask.
                Err(Errno::NOSYS | Errno::PERM) => return self.walk(path, flags, mode),
                opened => return Ok(opened?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// As `resolve`, step by step.
    fn walk(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let mut here: Option<OwnedFd> = None;
        let mut components = path.components().peekable();
        while let Some(component) = components.next() {
            let Component::Normal(name) = component else { return Err(Errno::XDEV.into()) };
            let at = here.as_ref().map_or(self.0.as_fd(), AsFd::as_fd);
            if components.peek().is_none() {
                return Ok(rustix::fs::openat(at, name, flags | OFlags::NOFOLLOW, mode)?);
            }
            here = Some(rustix::fs::openat(at, name, DIRECTORY, Mode::empty())?);
        }
        Err(Errno::INVAL.into())
    }
}

/// What is there, for a message.
pub(super) fn kind(found: &Stat) -> &'static str {
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => IS_DIRECTORY,
        FileType::Symlink => "a symbolic link",
        _ => "a file",
    }
}

/// The [`kind`] of a directory.
pub(super) const IS_DIRECTORY: &str = "a directory";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use fs_err as fs;

    use super::*;

    fn dir(path: &Path) -> Dir {
        Dir::open(path.to_str().unwrap()).unwrap()
    }

    #[test]
    fn no_link_on_the_way_is_followed() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path();
        fs::create_dir_all(path.join("outside")).unwrap();
        fs::create_dir_all(path.join("in/real")).unwrap();
        symlink(path.join("outside"), path.join("in/away")).unwrap();
        symlink("real", path.join("in/near")).unwrap();
        let inside = dir(&path.join("in"));
        for link in ["away", "near"] {
            let file = Path::new(link).join("file");
            assert!(inside.create(&file).is_err());
            assert!(inside.walk(&file, OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).is_err());
            assert!(inside.make(&file, 0o700).is_err());
            assert!(inside.symlink(Path::new("x"), &file).is_err());
            assert!(inside.beneath(Path::new(link)).is_err());
            let finish = Finish { mode: 0o777, seconds: None };
            assert!(inside.finish(Path::new(link), finish).is_err());
        }
        for path in ["../outside/file", "/tmp/file", ".."] {
            assert!(inside.create(Path::new(path)).is_err(), "{path}");
            assert!(inside.walk(Path::new(path), OFlags::PATH, Mode::empty()).is_err(), "{path}");
        }
        inside.create(Path::new("real/file")).unwrap();
        assert!(inside.rename(Path::new("real/file"), &inside, Path::new("away/file")).is_err());
        assert_eq!(fs::read_dir(path.join("outside")).unwrap().count(), 0);
        assert_eq!(fs::read_dir(path.join("in/real")).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_is_removed_where_it_was_moved_to() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path();
        fs::create_dir_all(path.join("a/x/y")).unwrap();
        let a = dir(&path.join("a"));
        fs::rename(path.join("a"), path.join("b")).unwrap();
        fs::create_dir_all(path.join("a/x/y")).unwrap();
        a.remove(OsStr::new("x")).unwrap();
        assert!(!path.join("b/x").exists() && path.join("a/x").exists());
        assert_eq!(a.path().unwrap(), fs::canonicalize(path.join("b")).unwrap());
    }
}
