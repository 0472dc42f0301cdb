//! Files that travel as a tar archive, unpacked by the guest's busybox.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe::Receiver;

use super::tail::Tail;
use crate::error::Cause;
use crate::exec::{Channel, GuestCommand, Streams, step_done, stream};
use crate::input_file::{self, Links};
use crate::sync::silence;

/// The guest's busybox, and what it runs.
const SHELL: [&str; 3] = ["/run/banger/busybox", "sh", "-c"];

/// Makes a directory and unpacks into it.
const INTO: &str = r#"mkdir -p -- "$1" && cd "$1" && tar -x -o -f -"#;

/// Copies a file or directory tree of the host to `guest`, as `cp -a` would: a directory that is
/// there keeps what else is in it. All of it belongs to root then.
pub(super) async fn push(channel: &Channel, host: &Path, guest: &Path) -> Result<(), Cause> {
    let (Some(parent), Some(name)) = (guest.parent(), guest.file_name()) else {
        let what = format!("`{}` names no place in the guest", guest.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what).into());
    };
    let (host, name) = (host.to_owned(), name.to_owned());
    // Read before anything is sent, so that a missing file is told as such.
    fs_err::symlink_metadata(&host)?;
    let pack = move |to: io::PipeWriter| pack(&host, name.as_ref(), to);
    unpack_packed(channel, "unpacking files", INTO, [parent.into()], pack).await
}

/// Runs a script in the guest that unpacks what `pack` writes, as it writes it.
pub(super) async fn unpack_packed(
    channel: &Channel,
    what: &'static str,
    script: &str,
    arguments: impl IntoIterator<Item = OsString>,
    pack: impl FnOnce(io::PipeWriter) -> io::Result<()> + Send + 'static,
) -> Result<(), Cause> {
    let (reader, writer) = io::pipe()?;
    let packing = tokio::task::spawn_blocking(move || pack(writer));
    rustix::io::ioctl_fionbio(&reader, true).map_err(io::Error::from)?;
    let archive = Receiver::from_owned_fd(reader.into())?;
    let unpacked = unpack(channel, what, script, arguments, archive).await;
    // Where the guest stops reading, that is why packing ended too.
    unpacked?;
    packing.await.map_err(io::Error::other)??;
    Ok(())
}

fn pack(host: &Path, name: &Path, to: impl io::Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(to);
    archive.follow_symlinks(false);
    // The guest's busybox knows no files with holes.
    archive.sparse(false);
    if fs_err::metadata(host)?.is_dir() {
        archive.append_dir_all(name, host)?;
    } else {
        // A link that was named itself stands for what it points to.
        archive.append_file(name, &mut input_file::open(host, Links::Follow)?)?;
    }
    archive.into_inner().map(drop)
}

/// Runs a script in the guest that unpacks its input. A guest that takes none of it for 30 s, or does
/// not end so long after it took all, is given up.
pub(super) async fn unpack(
    channel: &Channel,
    what: &'static str,
    script: &str,
    arguments: impl IntoIterator<Item = OsString>,
    archive: impl AsyncRead + Unpin + Send,
) -> Result<(), Cause> {
    let words = SHELL.into_iter().chain([script, "sh"]).map(OsString::from);
    let command = GuestCommand::new(words.chain(arguments).collect());
    let mut stderr = Tail::default();
    let taken = Taken::default();
    let status = {
        let archive = Counted { archive, taken: &taken };
        let streams = Streams::to(tokio::io::sink(), &mut stderr).reading(archive);
        tokio::select! {
            biased;
            status = stream::run(channel, &command, streams) => status?,
            () = silence::of(|| taken.count()) => {
                let quiet = format!("the guest took nothing for {} s", silence::QUIET);
                return Err(io::Error::new(io::ErrorKind::TimedOut, quiet).into());
            }
        }
    };
    Ok(step_done(what, status, stderr.bytes())?)
}

/// How much of an archive the guest has taken.
#[derive(Debug, Default)]
struct Taken {
    bytes: AtomicU64,
    /// Whether it waits for us: more of the archive is still to be made.
    waits: AtomicBool,
}

impl Taken {
    /// How much it has taken, where it is the guest that is waited for.
    fn count(&self) -> Option<u64> {
        let waits = self.waits.load(Ordering::Relaxed);
        (!waits).then(|| self.bytes.load(Ordering::Relaxed))
    }
}

/// An archive that is read as the guest takes it.
struct Counted<'a, R> {
    archive: R,
    taken: &'a Taken,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<'_, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = to.filled().len();
        let polled = Pin::new(&mut self.archive).poll_read(cx, to);
        let read = (to.filled().len() - before) as u64;
        self.taken.bytes.fetch_add(read, Ordering::Relaxed);
        self.taken.waits.store(polled.is_pending(), Ordering::Relaxed);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_holes_is_packed_as_any_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("holes");
        fs_err::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        let mut packed = Vec::new();
        pack(&path, Path::new("holes"), &mut packed).unwrap();
        let mut archive = tar::Archive::new(packed.as_slice());
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.header().entry_type(), tar::EntryType::Regular);
    }

    #[test]
    fn what_would_wait_or_never_end_is_packed_as_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), rustix::fs::Mode::RUSR).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path("endless")).unwrap();
        let mut packed = Vec::new();
        pack(dir.path(), Path::new("all"), &mut packed).unwrap();
        let mut archive = tar::Archive::new(packed.as_slice());
        let kinds = archive.entries().unwrap().map(|e| e.unwrap().header().entry_type());
        let kinds: Vec<_> = kinds.filter(|kind| !kind.is_dir()).collect();
        assert!(kinds.iter().all(|kind| kind.is_fifo() || kind.is_symlink()), "{kinds:?}");
        for name in ["fifo", "endless"] {
            let error = pack(&path(name), Path::new("x"), Vec::new()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("not a regular file"), "{error}");
        }
    }
}
