//! The directory of what all runs on this host share: a lock, and what forwarding was before. It is
//! root's alone.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::process::geteuid;

use crate::rundir::FileLock;

/// Not `/run/banger`, which is a guest's.
const DIRECTORY: &str = "/run/banger-host";

/// A file in it, whether or not that is there.
pub(super) fn path(name: &str) -> Utf8PathBuf {
    Utf8Path::new(DIRECTORY).join(name)
}

/// Keeps other runs of this host out while addresses and forwarding are decided.
pub(super) fn turn() -> io::Result<FileLock> {
    make(Utf8Path::new(DIRECTORY))?;
    FileLock::exclusive_here(&path("network.lock"))
}

/// Makes the directory, or makes sure that the one that is there is ours and nobody else's.
fn make(directory: &Utf8Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(io::Error::new(
                error.kind(),
                format!("cannot make `{directory}`: {error}"),
            ));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != geteuid().as_raw() {
        let message = format!("`{directory}` is somebody else's, or no directory: remove it");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Utf8Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn the_directory_is_ours_alone() {
        let temporary = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(temporary.path()).unwrap().join("shared");
        make(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        make(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
    }

    #[test]
    fn what_stands_in_its_place_is_refused_by_name() {
        let temporary = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temporary.path()).unwrap();
        let [file, link, elsewhere] = ["file", "link", "elsewhere"].map(|name| root.join(name));
        fs::write(&file, "").unwrap();
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        for path in [&file, &link] {
            let error = make(path).unwrap_err().to_string();
            assert!(error.contains(path.as_str()), "{error}");
        }
        if geteuid().is_root() {
            std::os::unix::fs::chown(&elsewhere, Some(1), None).unwrap();
            assert!(make(&elsewhere).unwrap_err().to_string().contains(elsewhere.as_str()));
        }
    }
}
