//! Processes that belong to a run directory, found by their command lines.
//!
//! Every helper process of a VM has a path inside its run directory among its arguments, so no
//! pid needs to be recorded before it exists, and no recycled pid is ever mistaken for ours. Anybody
//! can give a process any arguments: only this user's count, and those of the VM's own jail.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use camino::Utf8Path;
use fs_err as fs;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};

use crate::process::real_user;
use crate::rundir::run::handle_of;
use crate::vmm::GATE;
use crate::vmm::firecracker::jail_user;

/// Programs that run on a VM's behalf; a pager that shows its log is not one of them.
const HELPERS: &[&str] = &["qemu-system-x86_64", "jailer", "ssh", "qemu-img", "passt", GATE];

/// How long a killed process may take to be gone.
const DEATH_LIMIT: Duration = Duration::from_secs(10);

/// The pids of helper processes of this user that name a path under `run_dir`.
///
/// # Errors
/// Where `/proc` cannot be read.
pub fn processes(run_dir: &Utf8Path) -> io::Result<Vec<i32>> {
    let run = Run::of(run_dir);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let pid = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
        found.extend(pid.filter(|pid| run.has(*pid)).map(Pid::as_raw_pid));
    }
    Ok(found)
}

/// By what the processes of one run are known.
#[derive(Debug)]
struct Run {
    /// What one of them has among its arguments: in a jail it knows no path outside.
    needles: [String; 2],
    /// Whose they are.
    users: [u32; 2],
}

impl Run {
    fn of(run_dir: &Utf8Path) -> Self {
        let handle = handle_of(run_dir);
        let needles = [format!("{run_dir}/"), format!("banger-{handle}")];
        let us = getuid();
        // Only root gives out other users, and nobody else becomes one of those.
        let jailed = jail_user(&handle).filter(|_| us.is_root());
        Self { needles, users: [us.as_raw(), jailed.unwrap_or(us.as_raw())] }
    }

    /// Whether a process, which may end while we look at it, is one of them.
    fn has(&self, pid: Pid) -> bool {
        let Ok(cmdline) = fs::read(format!("/proc/{}/cmdline", pid.as_raw_pid())) else {
            return false;
        };
        let named = |needle: &String| contains(&cmdline, needle.as_bytes());
        is_helper(&cmdline)
            && self.needles.iter().any(named)
            && real_user(pid).is_some_and(|user| self.users.contains(&user))
    }
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
            // The number may have become another's before we had hold of it.
            Ok(_) if !Run::of(run_dir).has(pid) => {}
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
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that is called as if it were one of a run's.
    fn start(run_dir: &Utf8Path, user: u32) -> Child {
        let mut shell = Command::new("/bin/sh");
        shell.arg0("ssh").args(["-c", "read line", "ssh", &format!("{run_dir}/config")]);
        shell.uid(user).stdin(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn another_users_process_is_none_of_a_runs_whatever_it_is_called() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = Utf8Path::from_path(dir.path()).unwrap().join("runs/otter");
        let mut ours = start(&run_dir, getuid().as_raw());
        assert_eq!(processes(&run_dir).unwrap(), [ours.id().cast_signed()]);
        if getuid().is_root() {
            let mut theirs = start(&run_dir, 65534);
            assert_eq!(processes(&run_dir).unwrap(), [ours.id().cast_signed()]);
            assert_eq!(kill(&run_dir).unwrap(), 1);
            assert!(theirs.try_wait().unwrap().is_none(), "it was killed");
            theirs.kill().unwrap();
            theirs.wait().unwrap();
            let user = jail_user(&handle_of(&run_dir)).unwrap();
            let mut jailed = start(&run_dir, user);
            assert!(processes(&run_dir).unwrap().contains(&jailed.id().cast_signed()));
            jailed.kill().unwrap();
            jailed.wait().unwrap();
        }
        assert!(kill(&run_dir).unwrap() <= 1);
        ours.wait().unwrap();
        assert!(processes(&run_dir).unwrap().is_empty());
    }

    #[test]
    fn only_helpers_count() {
        assert!(is_helper(b"/usr/bin/ssh\0-F\0/x/ssh_config\0"));
        assert!(is_helper(b"/opt/firecracker-1.12.1\0--id\0vm\0"));
        assert!(!is_helper(b"less\0/x/console.log\0"));
        assert!(!is_helper(b""));
    }
}
