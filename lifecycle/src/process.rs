//! Child processes that cannot outlive us, and tools whose failure says why.

use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Output, Stdio};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setsid};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::process::Command;

/// Has the kernel kill the child when we die, and keeps the terminal's Ctrl-C away from it by a session
/// of its own.
pub(crate) fn tie_to_parent(command: &mut Command) -> &mut Command {
    // SAFETY: setsid is async-signal-safe.
    unsafe { die_with_parent(command).pre_exec(|| setsid().map(|_| ()).map_err(Into::into)) }
}

/// Has the kernel kill the child when the thread that spawns it ends.
///
/// Spawn from the main thread only: the death signal follows the spawning *thread* (prctl(2)).
pub(crate) fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = rustix::process::getpid();
    command.kill_on_drop(true);
    // SAFETY: only prctl and getppid run between fork and exec; both are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            if getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        })
    }
}

/// Sends a short text to another process, and with it a copy of a descriptor.
///
/// # Errors
/// Where the other side is gone.
pub async fn hand_over(to: &UnixStream, text: &[u8], descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let descriptors = [descriptor];
    let send = || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        Ok(sendmsg(to, &[io::IoSlice::new(text)], &mut ancillary, SendFlags::NOSIGNAL)?)
    };
    match to.async_io(Interest::WRITABLE, send).await? {
        sent if sent == text.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed, or cannot be started.
    #[error("cannot start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended badly.
    #[error("`{program}` {}: {stderr}", describe(.status))]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines it wrote to standard error.
        stderr: String,
    },
}

impl ToolError {
    /// The program, where it is not installed.
    #[must_use]
    pub fn missing_program(&self) -> Option<&str> {
        match self {
            Self::Start { program, source } if source.kind() == io::ErrorKind::NotFound => {
                Some(program)
            }
            _ => None,
        }
    }
}

/// An exit status in words.
pub(crate) fn describe(status: &ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// An exit status as a shell has it: death by signal `n` is `128 + n`.
pub(crate) fn shell_status(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    number.and_then(|number| u8::try_from(number).ok()).unwrap_or(u8::MAX)
}

/// Runs a tool to its end, tied to us, with no standard input, and returns its standard output.
pub(crate) async fn run_tool(command: &mut Command) -> Result<Vec<u8>, ToolError> {
    run(command, Stdio::null()).await
}

/// The same with a standard input that is empty and stays open until we close it or die.
pub(crate) async fn run_tool_held(command: &mut Command) -> Result<Vec<u8>, ToolError> {
    run(command, Stdio::piped()).await
}

async fn run(command: &mut Command, stdin: Stdio) -> Result<Vec<u8>, ToolError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let start = |source| ToolError::Start { program: program.clone(), source };
    let mut child = tie_to_parent(command)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    // Taken, because waiting for the output would close it first.
    let held = child.stdin.take();
    let output = child.wait_with_output().await.map_err(start)?;
    drop(held);
    finish(program, output)
}

/// Runs a short tool with a text as its standard input, and waits for it here: where the end of a VM
/// must not be left to a runtime that may be gone.
pub(crate) fn run_tool_here(
    command: &mut std::process::Command,
    stdin: &str,
) -> Result<Vec<u8>, ToolError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let start = |source| ToolError::Start { program: program.clone(), source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // No Ctrl-C reaches it: what it is about has to be done also then.
    let mut child = command.process_group(0).spawn().map_err(start)?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that ends without reading says why itself.
        pipe.write_all(stdin.as_bytes()).ok();
    }
    let output = child.wait_with_output().map_err(start)?;
    finish(program, output)
}

/// The output of a tool that did its work.
fn finish(program: String, output: Output) -> Result<Vec<u8>, ToolError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let stderr = last_lines(&String::from_utf8_lossy(&output.stderr), 12);
    Err(ToolError::Failed { program, status: output.status, stderr })
}

/// The user that a process belongs to, whatever it acts as; `None` where there is no such process.
pub(crate) fn real_user(process: Pid) -> Option<u32> {
    let status = format!("/proc/{}/status", process.as_raw_pid());
    let status = fs_err::read_to_string(status).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().next()?.parse().ok()
}

/// Finds a program on `PATH`, and in the system's directories that users' paths often lack.
#[must_use]
pub fn find_program(name: &str, path: Option<&OsStr>) -> Option<std::path::PathBuf> {
    let own = path.map(std::env::split_paths).into_iter().flatten();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].into_iter().map(Into::into);
    own.chain(system).map(|dir| dir.join(name)).find(|file| {
        rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
    })
}

/// A program of the system's, as it is to be started: users' paths often lack its directory.
pub(crate) fn system_program(name: &str) -> std::path::PathBuf {
    find_program(name, None).unwrap_or_else(|| name.into())
}

/// The last `count` lines of a text, without blank ones at the end.
#[must_use]
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// A removal that finds nothing to remove has done its work.
pub(crate) fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Quotes a word for a POSIX shell.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
