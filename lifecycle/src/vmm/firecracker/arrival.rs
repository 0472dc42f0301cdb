//! Waiting for a file to appear in its directory.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use camino::Utf8Path;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A watch on one path, from when it is made.
#[derive(Debug)]
pub(crate) struct Arrival {
    events: AsyncFd<OwnedFd>,
    name: OsString,
}

impl Arrival {
    /// Watches; the path's directory must be there, and the path not yet.
    pub(crate) fn watch(path: &Utf8Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let kinds = WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&events, directory.as_std_path(), kinds)?;
        // SAFETY: the descriptor is moved in and stays the same until it is dropped with the rest.
        let events = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE)? };
        Ok(Self { events, name: name.into() })
    }

    /// Waits until the path is there.
    pub(crate) async fn wait(&self) -> io::Result<()> {
        loop {
            let mut ready = self.events.readable().await?;
            if ready
                .try_io(|events| self.has_arrived(events.get_ref()))
                .is_ok_and(|told| told.is_ok())
            {
                return Ok(());
            }
        }
    }

    /// Reads all events there are; "would block" where none was it.
    fn has_arrived(&self, events: &OwnedFd) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(events, &mut buffer);
        loop {
            let event = reader.next()?;
            if event.file_name().is_some_and(|name| name.to_bytes() == self.name.as_bytes()) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[tokio::test]
    async fn only_the_path_itself_ends_the_wait() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let arrival = Arrival::watch(&dir.join("socket")).unwrap();
        fs::write(dir.join("socket.part"), "").unwrap();
        fs::write(dir.join("other"), "").unwrap();
        let waiting = arrival.wait();
        tokio::pin!(waiting);
        let making = async { fs::hard_link(dir.join("socket.part"), dir.join("socket")).unwrap() };
        tokio::select! {
            biased;
            told = &mut waiting => panic!("too early: {told:?}"),
            () = making => {}
        }
        waiting.await.unwrap();
    }
}
