//! Processes that belong to a run directory, found by their command lines.
//!
//! Every helper process of a VM has a path inside its run directory among its arguments, so no
//! pid needs to be recorded before it exists, and no recycled pid is ever mistaken for ours.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use camino::Utf8Path;
use fs_err as fs;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::rundir::run::handle_of;

/// Programs that run on a VM's behalf; a pager that shows its log is not one of them.
const HELPERS: &[&str] = &["qemu-system-x86_64", "jailer", "ssh", "qemu-img"];

/// How long a killed process may take to be gone.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// The pids of helper processes that name a path under `run_dir`.
///
/// # Errors
/// Where `/proc` cannot be read.
pub fn processes(run_dir: &Utf8Path) -> io::Result<Vec<i32>> {
    // One in a jail knows no path outside.
    let needles = [format!("{run_dir}/"), format!("banger-{}", handle_of(run_dir))];
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // A process may end while we look at it.
        let Ok(cmdline) = fs::read(entry.path().join("cmdline")) else { continue };
        if is_helper(&cmdline) && needles.iter().any(|needle| contains(&cmdline, needle.as_bytes()))
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Kills the processes of a run directory and waits until they are gone.
///
/// # Errors
/// Where one cannot be killed.
pub fn kill(run_dir: &Utf8Path) -> io::Result<usize> {
    let pids = processes(run_dir)?;
    for &pid in &pids {
        let Some(pid) = Pid::from_raw(pid) else { continue };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => {
                match pidfd_send_signal(&handle, Signal::KILL) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => return Err(error.into()),
                }
                let limit = DEATH_LIMIT.try_into().map_err(io::Error::other)?;
                poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit))?;
            }
            Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(pids.len())
}

/// Whether a command line is of a helper program.
fn is_helper(cmdline: &[u8]) -> bool {
    let program = cmdline.split(|&byte| byte == 0).next().unwrap_or_default();
    let name = std::path::Path::new(OsStr::from_bytes(program)).file_name();
    name.and_then(OsStr::to_str)
        .is_some_and(|name| HELPERS.contains(&name) || name.starts_with("firecracker"))
}

/// Whether `needle` occurs in `haystack`.
fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_helpers_count() {
        assert!(is_helper(b"/usr/bin/ssh\0-F\0/x/ssh_config\0"));
        assert!(is_helper(b"/opt/firecracker-1.12.1\0--id\0vm\0"));
        assert!(!is_helper(b"less\0/x/console.log\0"));
        assert!(!is_helper(b""));
    }
}
