//! Small files that somebody else may have written: a workspace's manifests, lists, ignore files.
//!
//! None of them can hold up this process or fill its memory: what is no regular file is refused
//! before it is opened for reading (a FIFO would wait, a device may do anything), and no more than
//! a limit is read. Whoever streams large files, such as `sync`, has bounds of its own.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};

/// How much a manifest, or a configuration of cargo's, may hold, in bytes.
pub const MANIFEST_LIMIT: u64 = 4 << 20;

/// How much a `Cargo.lock` may hold, in bytes.
pub const LOCKFILE_LIMIT: u64 = 32 << 20;

/// How much a list that somebody writes by hand may hold, in bytes.
pub const LIST_LIMIT: u64 = 1 << 20;

/// What happens to a symbolic link in the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It stands for what it leads to.
    Follow,
    /// It is refused.
    Refuse,
}

/// Opens a regular file for reading, without waiting for anything.
///
/// # Errors
/// Where there is none, it is of another kind, or it cannot be read; the error names the path.
pub fn open(path: &Path, links: Links) -> io::Result<File> {
    open_one_of(path, links, &[FileType::RegularFile])
}

/// Opens a disk, which may be a device, for reading.
///
/// # Errors
/// As [`open`].
pub fn open_disk(path: &Path) -> io::Result<File> {
    open_one_of(path, Links::Follow, &[FileType::RegularFile, FileType::BlockDevice])
}

fn open_one_of(path: &Path, links: Links, kinds: &[FileType]) -> io::Result<File> {
    let follow = match links {
        Links::Follow => OFlags::empty(),
        Links::Refuse => OFlags::NOFOLLOW,
    };
    let named = |error: rustix::io::Errno| at(path, error.into());
    // A handle that reads nothing shows what it is; only then is just that opened.
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | follow, Mode::empty());
    let place = place.map_err(named)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&place).map_err(named)?.st_mode);
    if !kinds.contains(&kind) {
        let what = format!("`{}` is {}, not a regular file", path.display(), name(kind));
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(again, flags, Mode::empty()).map_err(named)?.into())
}

/// Checks that [`read`] would read a file, for somebody else who reads it by its path.
///
/// # Errors
/// As [`read`].
pub fn check(path: &Path, limit: u64) -> io::Result<()> {
    let length = open(path, Links::Follow)?.metadata()?.len();
    if length > limit { Err(too_large(path, limit)) } else { Ok(()) }
}

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// As [`open`], and where it holds more; the error names path and limit.
pub fn read(path: &Path, limit: u64, links: Links) -> io::Result<Vec<u8>> {
    let file = open(path, links)?;
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content).map_err(|error| at(path, error))?;
    if content.len() as u64 > limit {
        return Err(too_large(path, limit));
    }
    Ok(content)
}

fn too_large(path: &Path, limit: u64) -> io::Error {
    let what = format!("`{}` is larger than {} KiB", path.display(), limit >> 10);
    io::Error::new(io::ErrorKind::FileTooLarge, what)
}

/// Reads a text of at most `limit` bytes, also by a link.
///
/// # Errors
/// As [`read`], and where it is not UTF-8.
pub fn read_text(path: impl AsRef<Path>, limit: u64) -> io::Result<String> {
    let path = path.as_ref();
    String::from_utf8(read(path, limit, Links::Follow)?).map_err(|_| {
        let what = format!("`{}` is not UTF-8", path.display());
        io::Error::new(io::ErrorKind::InvalidData, what)
    })
}

/// An error with the path that it is about.
fn at(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

const fn name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown kind",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use fs_err as fs;

    use super::*;

    /// A directory with one of each kind.
    fn kinds() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let path = move |name: &str| root.join(name);
        fs::write(path("file"), "text").unwrap();
        fs::File::create(path("huge")).unwrap().set_len(10 << 30).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), Mode::RUSR).unwrap();
        drop(std::os::unix::net::UnixListener::bind(path("socket")).unwrap());
        for (link, to) in [("link", "file"), ("endless", "/dev/zero"), ("waits", "fifo")] {
            symlink(to, path(link)).unwrap();
        }
        (dir, path)
    }

    #[test]
    fn what_is_no_regular_file_is_refused_by_name_and_at_once() {
        let (_dir, path) = kinds();
        let table =
            [("fifo", "FIFO"), ("socket", "socket"), ("endless", "device"), ("waits", "FIFO")];
        for (file, kind) in table {
            let error = read(&path(file), 10, Links::Follow).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains(kind), "{error}");
        }
        let error = read(path("").as_path(), 10, Links::Follow).unwrap_err().to_string();
        assert!(error.contains("a directory"), "{error}");
    }

    #[test]
    fn a_link_is_followed_only_where_it_may_be() {
        let (_dir, path) = kinds();
        assert_eq!(read(&path("link"), 10, Links::Follow).unwrap(), b"text");
        let error = read(&path("link"), 10, Links::Refuse).unwrap_err().to_string();
        assert!(error.contains("a symbolic link"), "{error}");
        assert_eq!(read(&path("file"), 10, Links::Refuse).unwrap(), b"text");
    }

    #[test]
    fn no_more_than_the_limit_is_read() {
        let (_dir, path) = kinds();
        assert_eq!(read_text(path("file"), 4).unwrap(), "text");
        assert!(read_text(path("file"), 3).is_err());
        let error = read_text(path("huge"), 1 << 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(error.to_string().ends_with("huge` is larger than 1024 KiB"), "{error}");
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let (_dir, path) = kinds();
        let error = read_text(path("none"), 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("none"), "{error}");
        fs::write(path("file"), [0xff]).unwrap();
        let error = read_text(path("file"), 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
