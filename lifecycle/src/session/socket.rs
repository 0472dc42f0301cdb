//! Unix sockets whose path is too long for a socket's address, which holds 108 bytes.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use camino::Utf8Path;

/// A short path to a socket, through its directory's descriptor: good in this process while this
/// lives.
#[derive(Debug)]
pub(crate) struct ShortPath {
    _directory: fs_err::File,
    path: PathBuf,
}

impl ShortPath {
    /// Opens the directory, which must be there.
    pub(crate) fn to(socket: &Utf8Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory = fs_err::File::open(parent)?;
        let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()).into();
        Ok(Self { _directory: directory, path })
    }

    /// The same for other processes of this user's.
    pub(crate) fn for_others(&self) -> String {
        let process = std::process::id();
        self.path.display().to_string().replace("/self/", &format!("/{process}/"))
    }

    /// The path.
    pub(crate) fn as_path(&self) -> &Path {
        &self.path
    }
}
