//! Where on the host something is put, by the path that the user gave.
//!
//! A component of that path may be a link which an earlier fetch put there, at the wish of a guest.
//! So no link is followed that a fetch of this user could have made: only those of the system are,
//! owned by root in a directory that only root can change; as root, those in `/` itself.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Stat};

use super::beneath::{Dir, IS_DIRECTORY, kind};
use super::error::SyncError;

/// The most links of the system's on one way, as for the kernel.
const MOST_LINKS: usize = 40;

/// A name in an open directory.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: Dir,
    pub(super) name: OsString,
}

impl Place {
    /// Finds where `guest` is put by the rules of `cp`: into `host` if that is a directory, under the
    /// guest path's last name; else at that very path. The directories above it are made.
    pub(super) fn find(guest: &Path, host: &Path) -> Result<Self, SyncError> {
        let (above, name) = match (host.components().next_back(), host.parent()) {
            (Some(Component::Normal(name)), Some(parent)) => (parent, Some(name)),
            // It ends in `..`, or is the root: a directory.
            _ => (host, None),
        };
        let directory = Walk::to(above)?;
        let Some(name) = name else { return Self::into(directory, guest, host) };
        let found = directory.look(Path::new(name)).map_err(SyncError::unwritable(host))?;
        if found.is_some_and(|found| kind(&found) == IS_DIRECTORY) {
            let inner = directory.beneath(Path::new(name)).map_err(SyncError::unwritable(host))?;
            return Self::into(inner, guest, host);
        }
        Ok(Self { directory, name: name.to_owned() })
    }

    fn into(directory: Dir, guest: &Path, host: &Path) -> Result<Self, SyncError> {
        let name = guest.file_name().ok_or_else(|| SyncError::InTheWay {
            path: host.to_owned(),
            found: IS_DIRECTORY,
            wanted: "a tree without a name",
        })?;
        Ok(Self { directory, name: name.to_owned() })
    }
}

/// A way along a path, one component at a time.
struct Walk {
    here: Dir,
    /// Where that is, for messages.
    passed: PathBuf,
    links: usize,
}

impl Walk {
    fn to(path: &Path) -> Result<Dir, SyncError> {
        let start = if path.is_absolute() { "/" } else { "." };
        let here = Dir::open(start).map_err(SyncError::unwritable(Path::new(start)))?;
        let mut walk = Self { here, passed: PathBuf::new(), links: 0 };
        let mut left: VecDeque<OsString> = names(path).collect();
        while let Some(name) = left.pop_front() {
            if let Some(target) = walk.step(&name, &left)? {
                left = names(&target).chain(left).collect();
            }
        }
        Ok(walk.here)
    }

    /// Goes on by one component; where that is a link of the system's, says where it leads.
    fn step(
        &mut self,
        name: &OsStr,
        left: &VecDeque<OsString>,
    ) -> Result<Option<PathBuf>, SyncError> {
        let path = self.passed.join(name);
        let failed = |error: io::Error| SyncError::unwritable(&path)(error);
        if name == "/" {
            self.here = Dir::open("/").map_err(failed)?;
        } else if name == ".." {
            self.here = self.here.above().map_err(failed)?;
        } else {
            let found = self.here.look(Path::new(name)).map_err(failed)?;
            match found {
                None => self.make(name).map_err(failed)?,
                Some(found) if is_link(&found) => {
                    let allowed = self.is_of_the_system(&found).map_err(failed)?;
                    if allowed && self.links < MOST_LINKS {
                        self.links += 1;
                        return self.here.read_link(name).map(Some).map_err(failed);
                    }
                    return Err(refused(path, left));
                }
                Some(_) => {}
            }
            self.here = self.here.beneath(Path::new(name)).map_err(failed)?;
        }
        self.passed = path;
        Ok(None)
    }

    fn make(&self, name: &OsStr) -> io::Result<()> {
        match self.here.make(Path::new(name), 0o777) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    /// Whether a link in this directory cannot be one that a fetch made.
    fn is_of_the_system(&self, link: &Stat) -> io::Result<bool> {
        const OTHERS_WRITE: u32 = 0o022;
        let (here, root) = (self.here.stat()?, Dir::open("/")?.stat()?);
        let of_root = link.st_uid == 0 && here.st_uid == 0 && here.st_mode & OTHERS_WRITE == 0;
        let at_top = (here.st_dev, here.st_ino) == (root.st_dev, root.st_ino);
        Ok(of_root && (at_top || !rustix::process::geteuid().is_root()))
    }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    let components = path.components().filter(|component| *component != Component::CurDir);
    components.map(|component| component.as_os_str().to_owned())
}

fn is_link(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Symlink
}

fn refused(path: PathBuf, left: &VecDeque<OsString>) -> SyncError {
    let target = path.canonicalize().ok();
    let leads = target.map(|target| {
        target
            .components()
            .map(Component::as_os_str)
            .chain(left.iter().map(OsString::as_os_str))
            .collect()
    });
    SyncError::HostLink { path, leads }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use fs_err as fs;

    use super::*;

    #[test]
    fn a_link_that_a_fetch_could_have_made_is_named_and_not_followed() {
        let top = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(top.path()).unwrap();
        fs::create_dir(path.join("victim")).unwrap();
        fs::create_dir(path.join("here")).unwrap();
        symlink("../victim", path.join("here/reports")).unwrap();
        let guest = Path::new("/coverage");
        let inner = path.join("here/reports/new/coverage");
        let error = Place::find(guest, &inner).unwrap_err();
        let expected = format!(
            "`{}` is a symbolic link: none is followed to where files are fetched to",
            path.join("here/reports").display()
        );
        assert_eq!(error.to_string(), expected);
        let hint =
            format!("give the path that it leads to: `{}`", path.join("victim/new").display());
        assert_eq!(error.hint(), Some(hint));
        assert_eq!(fs::read_dir(path.join("victim")).unwrap().count(), 0);
        // The last one is what is replaced, and no directory that is there.
        let last = Place::find(guest, &path.join("here/reports")).unwrap();
        assert_eq!(last.name, "reports");
        assert_eq!(last.directory.path().unwrap(), path.join("here"));
    }

    #[test]
    fn directories_are_made_and_gone_into() {
        let top = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(top.path()).unwrap();
        let place = |host: &str| {
            let place = Place::find(Path::new("/out/report"), &path.join(host)).unwrap();
            place.directory.path().unwrap().join(place.name)
        };
        assert_eq!(place("a/b/c"), path.join("a/b/c"));
        assert_eq!(place("a/b"), path.join("a/b/report"));
        assert_eq!(place("a/b/.."), path.join("a/report"));
        assert_eq!(place("a/../d/./e/"), path.join("d/e"));
        let error = Place::find(Path::new("/"), &path).unwrap_err();
        assert!(error.to_string().contains("a tree without a name"), "{error}");
    }
}
