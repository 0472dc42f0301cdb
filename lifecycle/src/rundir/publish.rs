//! Putting what is finished where others look for it, so that it is there whole or not at all, whatever
//! moment the host loses power at.

use std::io::{self, Write as _};

use camino::Utf8Path;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;

/// Moves a file, or a directory with all that is in it, to its place on the same filesystem. What it
/// holds is on disk before its name is, and its name is when this returns. Blocks meanwhile.
///
/// # Errors
/// Where something cannot be written out or moved; it may have its place then.
pub(crate) fn publish(from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    sync(from)?;
    fs::rename(from, to)?;
    let (old, new) = (from.parent(), to.parent());
    let left = old.filter(|_| old != new);
    new.into_iter().chain(left).try_for_each(|dir| fs::File::open(dir)?.sync_all())
}

/// Writes a small file of this user's alone, in place of the one before, through a hidden file beside it:
/// only one process may be about that at a time.
///
/// # Errors
/// As [`publish`].
pub(crate) fn write(path: &Utf8Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_file_name(format!(".{}.part", path.file_name().unwrap_or_default()));
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    publish(&part, path)
}

/// Writes out a file, or a directory and all that is in it. Links have no content of their own.
fn sync(path: &Utf8Path) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?;
    if kind.is_dir() {
        path.read_dir_utf8()?.try_for_each(|entry| sync(entry?.path()))?;
    } else if !kind.is_file() {
        return Ok(());
    }
    fs::File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_directory_and_a_file_come_to_their_places() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        fs::create_dir_all(dir.join("scratch/made/deep")).unwrap();
        fs::write(dir.join("scratch/made/deep/file"), "content").unwrap();
        symlink("/no/such/place", dir.join("scratch/made/link")).unwrap();
        publish(&dir.join("scratch/made"), &dir.join("place")).unwrap();
        assert_eq!(fs::read_to_string(dir.join("place/deep/file")).unwrap(), "content");
        assert!(publish(&dir.join("scratch/made"), &dir.join("place")).is_err());
        for text in ["longer", "one"] {
            write(&dir.join("record"), text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(dir.join("record")).unwrap(), text);
        }
        let mode = fs::metadata(dir.join("record")).unwrap().permissions().mode();
        assert_eq!((mode & 0o777, dir.join(".record.part").exists()), (0o600, false));
    }
}
