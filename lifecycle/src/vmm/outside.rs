//! The two processes between QEMU and the outside: `passt`, and the gate before it.
//!
//! ```text
//!  QEMU ──socket pair── gate ──socket pair── passt
//! ```
//!
//! No socket has a path. Each process ends when its neighbour does, so both end with QEMU, whoever
//! kills that and whoever is left; until it runs, their ends are ours and go with us. (The kernel
//! forgets that it is to kill `passt` with its parent once that changes its user, as it does.) Their
//! names have the run directory in them, by which they are found where one of them is stuck.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use camino::Utf8Path;
use command_fds::{CommandFdExt as _, FdMapping};
use fs_err as fs;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};

use super::VmmError;
use super::launch::{start, stream};
use crate::network::passt::{SOCKET_FD, Way, args, is_routed, question};
use crate::process::last_lines;

/// What the gate is called in lists of processes.
pub(crate) const GATE: &str = "banger-gate";

/// Its log, in the run directory.
const GATE_LOG: &str = "gate.log";

/// How long `passt` may take to answer.
const LIMIT: Duration = Duration::from_secs(30);

/// How much of what it wrote is read, in bytes.
const WORDS: u64 = 4096;

/// Starts `passt`, waits until it is ready, and returns what leads to it.
pub(super) async fn passt(
    way: &Way,
    run_dir: &Utf8Path,
    may_outlive: bool,
) -> Result<(Child, OwnedFd), VmmError> {
    let (mut ours, parent_fd) = stream()?;
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut command = Command::new(&way.passt);
    command.arg0(run_dir.join("passt")).args(args(is_routed(&routes)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let descriptors = vec![FdMapping { parent_fd, child_fd: SOCKET_FD }];
    command.fd_mappings(descriptors).map_err(std::io::Error::other)?;
    let mut child = start(&mut command, may_outlive)?;
    // It holds the child's end of the socket, which is to close with the child.
    drop(command);
    let stderr = child.stderr.take();
    match tokio::time::timeout(LIMIT, ask(&mut ours)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => return Err(refused(child, stderr).await),
        Err(_) => {
            let seconds = LIMIT.as_secs();
            return Err(VmmError::NoAnswer { what: "starting `passt`", seconds });
        }
    }
    let ours = ours.into_std()?;
    ours.set_nonblocking(false)?;
    Ok((child, ours.into()))
}

/// Has it say that it is ready.
async fn ask(socket: &mut UnixStream) -> std::io::Result<()> {
    socket.write_all(&question()).await?;
    let length = socket.read_u32().await?;
    let mut answer = socket.take(length.into());
    tokio::io::copy(&mut answer, &mut tokio::io::sink()).await.map(drop)
}

/// Its end, with what it wrote.
async fn refused(mut child: Child, stderr: Option<ChildStderr>) -> VmmError {
    let mut text = Vec::new();
    if let Some(stderr) = stderr {
        drop(stderr.take(WORDS).read_to_end(&mut text).await);
    }
    let stderr = last_lines(&String::from_utf8_lossy(&text), 5);
    match child.wait().await {
        Ok(status) => VmmError::Passt { status, stderr },
        Err(error) => error.into(),
    }
}

/// Starts the gate before it, and returns what leads to that.
pub(super) fn gate(
    way: &Way,
    passt: OwnedFd,
    run_dir: &Utf8Path,
    may_outlive: bool,
) -> Result<(Child, OwnedFd), VmmError> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    // The gate says nothing of what passes: only, at its end, why.
    let log = fs::File::create(run_dir.join(GATE_LOG))?;
    let mut command = Command::new(&way.banger);
    command.arg0(run_dir.join(GATE)).args(["banger", "gate", way.reach.as_str()]);
    command.stdin(OwnedFd::from(theirs)).stdout(passt).stderr(log.into_parts().0);
    Ok((start(&mut command, may_outlive)?, ours.into()))
}
