//! Directories that are ours alone: whoever could replace one, or write to it, decides what we
//! find in it. What the directories hold is none of this module's business.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use fs_err as fs;

/// How many symbolic links a path may lead through, as for the kernel.
const MAX_LINKS: usize = 40;

/// The bits of a mode that say anything about others than the owner.
const OTHERS: u32 = 0o077;

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeError {
    /// It, a directory above it or a link on the way to it is somebody else's.
    #[error("`{path}` belongs to user {owner}, and this is user {us}")]
    Foreign {
        /// What belongs to them.
        path: Utf8PathBuf,
        /// Their number.
        owner: u32,
        /// Ours.
        us: u32,
    },
    /// Others can put things into it, or into a directory above it.
    #[error("others can write to `{path}` (its mode is {mode:04o})")]
    Writable {
        /// The directory.
        path: Utf8PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is a file, or leads through one.
    #[error("`{0}` is not a directory")]
    NotADirectory(Utf8PathBuf),
    /// It leads through links that do not end.
    #[error("`{0}` leads through too many symbolic links")]
    Links(Utf8PathBuf),
    /// It cannot be looked at, made or changed.
    #[error("cannot use `{path}`")]
    Io {
        /// The directory.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl HomeError {
    /// What fixes it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let other = "`BANGER_HOME` names another directory to keep everything in";
        match self {
            Self::Foreign { us: 0, .. } => {
                Some(format!("`sudo -H` uses root's own home directory; {other}"))
            }
            Self::Foreign { .. } => Some(other.to_owned()),
            Self::Writable { path, .. } => {
                Some(format!("`chmod go-w {path}`, if all in it is yours; {other}"))
            }
            Self::NotADirectory(_) | Self::Links(_) | Self::Io { .. } => Some(other.to_owned()),
        }
    }
}

/// Makes a directory, and those above it that are missing, for their owner alone.
pub(crate) fn create_dir_all(path: &Utf8Path) -> io::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| io::Error::new(error.kind(), format!("cannot make `{path}`: {error}")))
}

/// For whom directories are looked at.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    uid: u32,
    /// Whoever has `/` has everything: root, or what a user namespace shows in its place.
    root: u32,
    /// The group that new files of ours belong to.
    gid: u32,
}

impl Owner {
    /// The user that this process acts as.
    pub(super) fn current() -> Result<Self, HomeError> {
        let root = fs::metadata("/").map_err(failed("/"))?.uid();
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        Ok(Self { uid: uid.as_raw(), root, gid: gid.as_raw() })
    }

    /// Checks that a directory is ours and that nobody else can replace it or write to it, and takes
    /// from others what they may do with it otherwise. One that is missing is checked as far as
    /// the path exists.
    pub(super) fn secure(&self, path: &Utf8Path) -> Result<(), HomeError> {
        let Some(found) = self.follow(path)? else { return Ok(()) };
        let metadata = fs::symlink_metadata(&found).map_err(failed(&found))?;
        if metadata.uid() != self.uid {
            return Err(self.foreign(&found, metadata.uid()));
        }
        let mode = metadata.mode() & 0o7777;
        if self.is_writable_by_others(&metadata) {
            return Err(HomeError::Writable { path: found, mode });
        }
        if mode & OTHERS != 0 {
            let private = std::fs::Permissions::from_mode(0o700);
            fs::set_permissions(&found, private).map_err(failed(&found))?;
        }
        Ok(())
    }

    /// Follows a path from `/`, one name or link at a time, and checks that each is ours or root's
    /// and that nobody else can exchange it. Returns where it leads; `None` where nothing is there.
    fn follow(&self, path: &Utf8Path) -> Result<Option<Utf8PathBuf>, HomeError> {
        let mut found = Utf8PathBuf::from("/");
        // Names still to be followed, the next one last.
        let mut names = names(path);
        let mut links = 0;
        while let Some(name) = names.pop() {
            if name == ".." {
                found.pop();
                continue;
            }
            self.check_above(&found)?;
            let next = found.join(&name);
            let metadata = match fs::symlink_metadata(&next) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                metadata => metadata.map_err(failed(&next))?,
            };
            if ![self.uid, self.root, 0].contains(&metadata.uid()) {
                return Err(self.foreign(&next, metadata.uid()));
            }
            if metadata.is_symlink() {
                links += 1;
                if links > MAX_LINKS {
                    return Err(HomeError::Links(path.to_owned()));
                }
                let target = next.read_link_utf8().map_err(failed(&next))?;
                if target.is_absolute() {
                    found = "/".into();
                }
                names.extend(self::names(&target));
            } else if metadata.is_dir() {
                found = next;
            } else {
                return Err(HomeError::NotADirectory(next));
            }
        }
        Ok(Some(found))
    }

    /// Checks that nobody else can exchange what is in a directory: in one with the sticky bit only
    /// who owns an entry can.
    fn check_above(&self, dir: &Utf8Path) -> Result<(), HomeError> {
        let metadata = fs::symlink_metadata(dir).map_err(failed(dir))?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o1000 == 0 && self.is_writable_by_others(&metadata) {
            return Err(HomeError::Writable { path: dir.to_owned(), mode });
        }
        Ok(())
    }

    fn is_writable_by_others(&self, metadata: &std::fs::Metadata) -> bool {
        let mode = metadata.mode();
        mode & 0o002 != 0 || (mode & 0o020 != 0 && !self.is_private(metadata.gid()))
    }

    /// Whether nobody but us and root is in a group, as on systems that give each user one.
    fn is_private(&self, gid: u32) -> bool {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        gid == 0
            || (gid == self.gid
                && is_users_own(gid, self.uid, &text("/etc/group"), &text("/etc/passwd")))
    }

    fn foreign(&self, path: &Utf8Path, owner: u32) -> HomeError {
        HomeError::Foreign { path: path.to_owned(), owner, us: self.uid }
    }
}

/// The names in a path, the first one last.
fn names(path: &Utf8Path) -> Vec<String> {
    let name = |component| match component {
        Utf8Component::Normal(name) => Some(name.to_owned()),
        Utf8Component::ParentDir => Some("..".to_owned()),
        Utf8Component::CurDir | Utf8Component::RootDir | Utf8Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// Whether a group has no member but one user, by the texts of `/etc/group` and `/etc/passwd`. One
/// that is in neither is, where it has the user's number.
fn is_users_own(gid: u32, uid: u32, groups: &str, users: &str) -> bool {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let number = |fields: &[String], at: usize| fields.get(at)?.parse::<u32>().ok();
    let users: Vec<_> = users.lines().map(fields).collect();
    let is_ours =
        |name: &str| users.iter().any(|user| user[0] == name && number(user, 2) == Some(uid));
    let has_another = users.iter().any(|u| number(u, 3) == Some(gid) && number(u, 2) != Some(uid));
    let group = groups.lines().map(fields).find(|group| number(group, 2) == Some(gid));
    match group {
        None => gid == uid && !has_another,
        Some(group) => {
            let members = group.get(3).map(String::as_str).unwrap_or_default();
            !has_another && members.split(',').all(|name| name.is_empty() || is_ours(name))
        }
    }
}

fn failed(path: impl AsRef<Utf8Path>) -> impl FnOnce(io::Error) -> HomeError {
    let path = path.as_ref().to_owned();
    move |source| HomeError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory of our own in a sticky one, physically.
    fn place() -> (tempfile::TempDir, Utf8PathBuf, Owner) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().canonicalize_utf8().unwrap();
        (dir, path, Owner::current().unwrap())
    }

    fn make(path: &Utf8Path, mode: u32) {
        create_dir_all(path).unwrap();
        set_mode(path, mode);
    }

    fn set_mode(path: &Utf8Path, mode: u32) {
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Utf8Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_made_is_private_whatever_is_missing() {
        let (_dir, path, owner) = place();
        create_dir_all(&path.join("a/b")).unwrap();
        assert_eq!((mode(&path.join("a")), mode(&path.join("a/b"))), (0o700, 0o700));
        owner.secure(&path.join("a/b/not/there")).unwrap();
    }

    #[test]
    fn our_own_of_before_is_tightened_also_behind_a_link() {
        let (_dir, path, owner) = place();
        make(&path.join("shared"), 0o755);
        symlink("shared", path.join("images")).unwrap();
        owner.secure(&path.join("images")).unwrap();
        assert_eq!(mode(&path.join("shared")), 0o700);
    }

    #[test]
    fn what_others_can_write_to_is_refused_and_so_is_all_below_it() {
        let (_dir, path, owner) = place();
        make(&path.join("open/cache"), 0o700);
        set_mode(&path.join("open"), 0o777);
        for inside in ["open", "open/cache", "open/missing"] {
            let error = owner.secure(&path.join(inside)).unwrap_err();
            assert!(error.to_string().contains("/open` (its mode is 0777)"), "{error}");
            assert!(error.hint().unwrap().contains("BANGER_HOME"));
        }
        // What is in it belongs to who made it.
        set_mode(&path.join("open"), 0o1777);
        owner.secure(&path.join("open/cache")).unwrap();
    }

    #[test]
    fn somebody_elses_is_refused_by_name() {
        let (_dir, path, owner) = place();
        make(&path.join("theirs"), 0o700);
        let us = owner.uid + 1;
        let error = Owner { uid: us, ..owner.clone() }.secure(&path.join("theirs"));
        // Root's is told apart only at the end of the path, where it is not ours either.
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with(&format!("belongs to user {}, and this is user {us}", owner.uid)));
        let sudo = HomeError::Foreign { path: path.clone(), owner: 1000, us: 0 };
        assert!(sudo.hint().unwrap().contains("`sudo -H`"));
    }

    #[test]
    fn a_link_of_somebody_else_is_refused_whatever_it_leads_to() {
        let (_dir, path, owner) = place();
        if owner.uid != 0 {
            return eprintln!("skipped: only root gives links to others");
        }
        make(&path.join("ours"), 0o700);
        for (link, target) in [("first", "ours"), ("second", "first")] {
            symlink(target, path.join(link)).unwrap();
        }
        let nobody = Some(rustix::fs::Uid::from_raw(65534));
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        let link = path.join("first");
        rustix::fs::chownat(rustix::fs::CWD, link.as_std_path(), nobody, None, flags).unwrap();
        for link in ["first", "second"] {
            let error = owner.secure(&path.join(link)).unwrap_err();
            assert!(error.to_string().contains("/first` belongs to user 65534"), "{error}");
        }
    }

    #[test]
    fn links_that_do_not_end_and_files_are_errors() {
        let (_dir, path, owner) = place();
        symlink("loop", path.join("loop")).unwrap();
        fs::write(path.join("file"), "").unwrap();
        assert!(matches!(owner.secure(&path.join("loop")), Err(HomeError::Links(_))));
        assert!(matches!(owner.secure(&path.join("file/x")), Err(HomeError::NotADirectory(_))));
        symlink("../".repeat(3) + path.as_str(), path.join("up")).unwrap();
        owner.secure(&path.join("up")).unwrap();
    }

    #[test]
    fn a_group_is_private_where_nobody_else_is_in_it() {
        let users = "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n\
                     other:x:1001:100::/home/other:/bin/sh\n";
        let groups = "root:x:0:\nme:x:1000:me\nusers:x:100:\nteam:x:50:me,other\n";
        let own = |gid| is_users_own(gid, 1000, groups, users);
        assert!(own(1000) && !own(100) && !own(50) && !own(4000));
        assert!(is_users_own(4000, 4000, groups, users), "of a directory service, by its number");
    }
}
