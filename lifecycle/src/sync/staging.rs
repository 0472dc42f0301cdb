//! The host side of a pull: a private directory beside the target, filled first, then moved in.
//!
//! All names in it come from the guest. Nothing in it was there before, directories are made as
//! directories, files only where nothing is yet, and links last of all: so no write can go
//! through a link that the guest had us make.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use fs_err as fs;
use rustix::fs::OFlags;

use super::error::SyncError;

/// What a file or directory gets at its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finish {
    /// Permission bits; those that lend the owner's rights do not come from a guest.
    pub(super) mode: u32,
    /// Modification time, in seconds.
    pub(super) seconds: Option<u32>,
}

/// A directory beside the target, removed with all that is left in it when dropped.
pub(super) struct Staging {
    directory: tempfile::TempDir,
    target: PathBuf,
}

impl Staging {
    /// Makes it, and the directories above the target.
    pub(super) fn new(target: PathBuf) -> Result<Self, SyncError> {
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let failed = SyncError::unwritable;
        fs::create_dir_all(parent).map_err(failed(parent))?;
        let directory = tempfile::Builder::new()
            .prefix(".banger-fetch-")
            .tempdir_in(parent)
            .map_err(failed(parent))?;
        Ok(Self { directory, target })
    }

    /// Where what ends up at the target is built.
    pub(super) fn top(&self) -> PathBuf {
        self.directory.path().join("fetched")
    }

    /// Moves what was built to the target: into a directory that is there, in place of a file.
    ///
    /// `directories` are those below the top (itself the empty path), parents first; they get
    /// their modes and times last, unless the host had them already.
    pub(super) fn install(self, directories: &[(PathBuf, Finish)]) -> Result<(), SyncError> {
        let mut kept = HashSet::new();
        merge(&self.top(), &self.target, &mut kept)?;
        for (path, finish) in directories.iter().rev() {
            // Joining the empty path would add a slash.
            let path = self.target.components().chain(path.components()).collect::<PathBuf>();
            if !kept.contains(&path) {
                finish_directory(&path, *finish).map_err(SyncError::unwritable(&path))?;
            }
        }
        Ok(())
    }
}

/// Makes a directory that only we may use for now.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

/// Makes a file where nothing is.
pub(super) fn create(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

/// Writes at an offset.
pub(super) fn write_at(file: &std::fs::File, offset: u64, content: &[u8]) -> io::Result<()> {
    file.write_all_at(content, offset)
}

/// Sets a file's time and mode.
pub(super) fn finish(file: &std::fs::File, finish: Finish) -> io::Result<()> {
    if let Some(seconds) = finish.seconds {
        file.set_modified(UNIX_EPOCH + Duration::from_secs(u64::from(seconds)))?;
    }
    file.set_permissions(std::fs::Permissions::from_mode(finish.mode & 0o777))
}

fn finish_directory(path: &Path, how: Finish) -> io::Result<()> {
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let directory = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    finish(&directory, how)
}

/// Moves `from` to `to`; directories that are on both sides become one and are noted in `kept`.
fn merge(from: &Path, to: &Path, kept: &mut HashSet<PathBuf>) -> Result<(), SyncError> {
    let wanted = kind(&fs::symlink_metadata(from).map_err(SyncError::unreadable(from))?);
    let found = match fs::symlink_metadata(to) {
        Ok(metadata) => Some(kind(&metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => {
            return Err(SyncError::Unreadable { path: to.to_owned(), source });
        }
    };
    match found {
        Some(DIRECTORY) if wanted == DIRECTORY => {}
        Some(found) if found == DIRECTORY || wanted == DIRECTORY => {
            return Err(SyncError::InTheWay { path: to.to_owned(), found, wanted });
        }
        _ => return fs::rename(from, to).map_err(SyncError::unwritable(to)),
    }
    kept.insert(to.to_owned());
    for entry in fs::read_dir(from).map_err(SyncError::unreadable(from))? {
        let name = entry.map_err(SyncError::unreadable(from))?.file_name();
        merge(&from.join(&name), &to.join(&name), kept)?;
    }
    Ok(())
}

const DIRECTORY: &str = "a directory";

fn kind(metadata: &std::fs::Metadata) -> &'static str {
    let kind = metadata.file_type();
    if kind.is_dir() {
        DIRECTORY
    } else if kind.is_symlink() {
        "a symbolic link"
    } else {
        "a file"
    }
}
