//! Asking a program something, in bounded time, and finding the version in what it says.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Serialize;

/// A version: two numbers, and a third where it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number.
    pub patch: Option<u32>,
}

impl Version {
    /// A version of two numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor, patch: None }
    }

    /// The first version named in a text: numbers with a dot between them, not within a word but for
    /// a `v` before them.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        let starts = text.char_indices().filter(|&(at, c)| {
            let before = &text[..at];
            let before = before.strip_suffix('v').unwrap_or(before).chars().next_back();
            c.is_ascii_digit() && !before.is_some_and(|b| b.is_alphanumeric() || b == '.')
        });
        starts.map(|(at, _)| &text[at..]).find_map(Self::parse_start)
    }

    fn parse_start(text: &str) -> Option<Self> {
        let (major, rest) = number(text)?;
        let (minor, rest) = number(rest.strip_prefix('.')?)?;
        let patch = rest.strip_prefix('.').and_then(number).map(|(patch, _)| patch);
        Some(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.patch {
            None => write!(f, "{}.{}", self.major, self.minor),
            Some(patch) => write!(f, "{}.{}.{patch}", self.major, self.minor),
        }
    }
}

/// What a program said.
#[derive(Debug)]
pub struct Answer {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to both outputs, as it came.
    pub text: String,
}

/// Runs a program with no input until it ends, or kills it when `limit` has passed.
///
/// `None` where it cannot be started or did not end in time.
#[must_use]
pub fn ask(
    program: &Path,
    args: &[&str],
    path: Option<&std::ffi::OsStr>,
    limit: Duration,
) -> Option<Answer> {
    // A file and not a pipe: a pipe that some grandchild keeps open would hold the reader up.
    let mut said: File = rustix::fs::memfd_create("answer", MemfdFlags::CLOEXEC).ok()?.into();
    let mut command = Command::new(program);
    command.args(args).env("LC_ALL", "C").env("RUSTUP_AUTO_INSTALL", "0");
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.stdin(Stdio::null()).stdout(said.try_clone().ok()?).stderr(said.try_clone().ok()?);
    let mut child = command.spawn().ok()?;
    let status = wait(&mut child, limit)?;
    let mut text = Vec::new();
    said.rewind().ok()?;
    said.read_to_end(&mut text).ok()?;
    Some(Answer { status, text: String::from_utf8_lossy(&text).into_owned() })
}

/// Reaps the child in any case.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let ended = ended_within(child, limit);
    if !ended {
        tracing::debug!(pid = child.id(), ?limit, "killing a program that does not answer");
        child.kill().ok()?;
    }
    let status = child.wait().ok()?;
    ended.then_some(status)
}

fn ended_within(child: &Child, limit: Duration) -> bool {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return false;
    };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    let Ok(limit) = Timespec::try_from(limit) else {
        return false;
    };
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let cases = [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)", "7.2.22"),
            ("OpenSSH_9.2p1 Debian-2+deb12u10, OpenSSL 3.0.19 27 Jan 2026", "9.2"),
            ("mke2fs 1.47.0 (5-Feb-2023)\n\tUsing EXT2FS Library", "1.47.0"),
            ("mkfs.erofs (erofs-utils) 1.7.1", "1.7.1"),
            ("unshare from util-linux 2.38.1", "2.38.1"),
            ("Firecracker v1.12.1\n2026-11-24T16:55:11.323150333 [x] exiting", "1.12.1"),
            ("cargo 1.95.0-nightly (abc 2026-01-01)", "1.95.0"),
        ];
        for (text, version) in cases {
            assert_eq!(Version::find(text).unwrap().to_string(), version, "{text}");
        }
        for text in ["", "mke2fs", "version unknown", "7", "x1.2"] {
            assert_eq!(Version::find(text), None, "{text}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number() {
        assert!(Version::find("10.0").unwrap() > Version::new(7, 0));
        assert!(Version::find("6.2.90").unwrap() < Version::new(7, 0));
        assert!(Version::find("7.0.0").unwrap() >= Version::new(7, 0));
    }

    #[test]
    fn both_outputs_and_the_status_come_back() {
        let script = ["-c", "echo out; echo err >&2; exit 3"];
        let answer = ask(Path::new("/bin/sh"), &script, None, Duration::from_secs(60)).unwrap();
        assert_eq!(answer.text, "out\nerr\n");
        assert_eq!(answer.status.code(), Some(3));
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let args = ["-c", "exec sleep 600"];
        assert!(ask(Path::new("/bin/sh"), &args, None, Duration::from_millis(50)).is_none());
        assert!(ask(Path::new("/no/such"), &[], None, Duration::from_secs(1)).is_none());
    }
}
