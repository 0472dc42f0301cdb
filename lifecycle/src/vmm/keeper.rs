//! Who goes on with the logs of a VM that stays: a process of its own, which has nothing but the VMM's
//! streams and the logs they lead to, and ends with the VMM.
//!
//! Nobody else would read the streams, and where a guest or its VMM wrote the logs itself they would have
//! no bound.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use camino::Utf8Path;
use command_fds::{CommandFdExt as _, FdMapping};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{fcntl_getfd, ioctl_fionbio, read};
use rustix::process::setsid;

use super::log::Log;
use super::recording::Recording;
use crate::rundir::FileLock;

/// The first of its descriptors: a stream and its log, and so on.
const FIRST: RawFd = 3;

/// How long it may take to end after the VMM.
const END_LIMIT: Duration = Duration::from_secs(3);

/// Has another process go on with recordings, of which the first ends with the VMM. `program` is
/// `cargo-banger`. It holds the lock of the first one's log for as long as it lives.
pub(super) fn start(program: &Utf8Path, recordings: &[&Recording]) -> io::Result<()> {
    let mut command = Command::new(program);
    command.args(["banger", "keep-logs"]).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut descriptors = Vec::new();
    for (child_fd, recording) in (FIRST..).step_by(2).zip(recordings) {
        let (source, log, gone) = recording.leave()?;
        if descriptors.is_empty() {
            flock(&log, FlockOperation::NonBlockingLockExclusive)?;
        }
        command.arg(gone.to_string());
        descriptors.push(FdMapping { parent_fd: source, child_fd });
        descriptors.push(FdMapping { parent_fd: log, child_fd: child_fd + 1 });
    }
    command.fd_mappings(descriptors).map_err(io::Error::other)?;
    // SAFETY: setsid is async-signal-safe.
    unsafe { command.pre_exec(|| setsid().map(drop).map_err(Into::into)) };
    command.spawn().map(drop)
}

/// Goes on with the logs that this process was started for, of each of which so much is gone, until the
/// first of their streams ends.
///
/// # Errors
/// Where this process was not started for that.
pub fn keep_logs(gone: &[u64]) -> io::Result<()> {
    let mut streams = Vec::new();
    for (fd, gone) in (FIRST..).step_by(2).zip(gone) {
        let (source, log) = (inherited(fd)?, inherited(fd + 1)?);
        ioctl_fionbio(&source, false)?;
        streams.push((source, Log::resume(File::from(log), *gone)?));
    }
    let mut streams = streams.into_iter();
    let first = streams.next();
    for (source, log) in streams {
        // Nobody waits for it: it ends with this process.
        drop(thread::spawn(move || record(&source, log)));
    }
    if let Some((source, log)) = first {
        record(&source, log);
    }
    Ok(())
}

/// Waits until nobody goes on with the logs of a VM that has ended, but not for ever.
pub(crate) fn wait_for_end(console_log: &Utf8Path) {
    const PAUSE: Duration = Duration::from_millis(2);
    let attempts = END_LIMIT.as_millis() / PAUSE.as_millis();
    for _ in 0..attempts {
        if !console_log.exists() || !matches!(FileLock::try_exclusive(console_log), Ok(None)) {
            return;
        }
        thread::sleep(PAUSE);
    }
    tracing::warn!(%console_log, "somebody still writes it");
}

fn record(source: &OwnedFd, mut log: Log) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match read(source, &mut buffer) {
            Ok(read @ 1..) => log.write(&buffer[..read]),
            Err(rustix::io::Errno::INTR) => {}
            _ => return,
        }
    }
}

/// A descriptor that this process was started with.
fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: it is only asked whether there is one.
    fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) })?;
    // SAFETY: nothing else in this process knows of what it was started with.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
