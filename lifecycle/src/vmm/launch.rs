//! Starting a VMM: its process, and the streams that lead to it and to its guest.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{ExitStatus, Stdio};

use camino::Utf8Path;
use command_fds::{CommandFdExt as _, FdMapping};
use fs_err as fs;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::console::{Console, Sign};
use super::firecracker::{self, Api, Setup};
use super::qemu::qmp::{Qmp, Seen};
use super::qemu::{BATCHES_FD, COMMANDS_FD, CONSOLE_FD, PROGRAM as QEMU, QMP_FD, args};
use super::{Config, VmmError, log_path};
use crate::overlay::dm_snapshot;
use crate::process::{last_lines, tie_to_parent};

/// How the VMM is spoken to.
#[derive(Debug)]
pub(super) enum Control {
    Qemu {
        qmp: Qmp,
        seen: watch::Receiver<Seen>,
        /// The ports that lead to the agent, until they are used.
        batches: Option<UnixStream>,
        commands: Option<UnixStream>,
    },
    Firecracker {
        api: Api,
        setup: Box<Setup>,
        signs: watch::Receiver<Sign>,
        /// What tells when the root disk is lost, where that is a snapshot.
        root: Option<dm_snapshot::Watch>,
    },
}

/// The child itself, killed when dropped unless it was told to live on.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    pub(super) lives_on: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.lives_on {
            drop(self.child.start_kill());
        }
    }
}

/// What there is of a VMM that was started.
pub(super) type Launched = (Process, Console, Control);

/// Starts QEMU.
pub(super) async fn qemu(
    config: &Config,
    run_dir: &Utf8Path,
    may_outlive: bool,
) -> Result<Launched, VmmError> {
    let (console, console_theirs) = pair()?;
    let (control, control_theirs) = pair()?;
    let (batches, batches_theirs) = pair()?;
    let (commands, commands_theirs) = pair()?;
    let descriptors = vec![
        FdMapping { parent_fd: control_theirs, child_fd: QMP_FD },
        FdMapping { parent_fd: console_theirs, child_fd: CONSOLE_FD },
        FdMapping { parent_fd: batches_theirs, child_fd: BATCHES_FD },
        FdMapping { parent_fd: commands_theirs, child_fd: COMMANDS_FD },
    ];
    let mut command = Command::new(&config.program);
    command.args(args(config)).stdin(Stdio::null()).stdout(Stdio::null());
    command.fd_mappings(descriptors).map_err(std::io::Error::other)?;
    let mut process = spawn(command, run_dir, may_outlive)?;
    let (output, input) = console.into_split();
    let console = Console::follow(output, input, None);
    let qmp = tokio::select! {
        qmp = Qmp::negotiate(control) => qmp,
        status = process.child.wait() => return Err(ended(status?, run_dir, QEMU)),
    };
    let qmp = match qmp {
        Ok(qmp) => qmp,
        Err(VmmError::Control(_)) => {
            return Err(ended(process.child.wait().await?, run_dir, QEMU));
        }
        Err(error) => return Err(error),
    };
    let seen = qmp.seen();
    let (batches, commands) = (Some(batches), Some(commands));
    Ok((process, console, Control::Qemu { qmp, seen, batches, commands }))
}

/// Starts Firecracker.
pub(super) async fn firecracker(
    config: &Config,
    run_dir: &Utf8Path,
    may_outlive: bool,
) -> Result<Launched, VmmError> {
    let (console, console_theirs) = pair()?;
    let home = config.home.dir();
    let arrival = firecracker::arrival(home)?;
    let mut command = firecracker::command(config, run_dir)?;
    command.stdin(console_theirs.try_clone()?).stdout(console_theirs);
    let mut process = spawn(command, run_dir, may_outlive)?;
    let (output, input) = console.into_split();
    let log = fs::File::create(&config.console_log)?.into_parts().0;
    let console = Console::follow(output, input, Some(log));
    let api = match firecracker::connect(&mut process.child, arrival, home).await {
        Err(VmmError::Ended { status, .. }) => {
            return Err(ended(status, run_dir, firecracker::PROGRAM));
        }
        api => api?,
    };
    let (setup, signs) = (Box::new(Setup::of(config)), console.signs());
    Ok((process, console, Control::Firecracker { api, setup, signs, root: None }))
}

/// Starts the process; what it writes to standard error goes to its log. The command, which holds
/// the child's ends of sockets, goes: without it they close with the child.
fn spawn(mut command: Command, run_dir: &Utf8Path, may_outlive: bool) -> Result<Process, VmmError> {
    let log = fs::OpenOptions::new().create(true).append(true).open(log_path(run_dir))?;
    command.stderr(log.into_parts().0);
    if may_outlive {
        command.process_group(0);
    } else {
        tie_to_parent(&mut command);
    }
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|source| VmmError::Start { program, source })?;
    Ok(Process { child, lives_on: false })
}

/// The VMM's end, with what it wrote.
pub(super) fn ended(status: ExitStatus, run_dir: &Utf8Path, program: &str) -> VmmError {
    let text = fs::read(log_path(run_dir)).unwrap_or_default();
    let stderr = last_lines(&String::from_utf8_lossy(&text), 5);
    VmmError::Ended { status, stderr: stderr.replace(&format!("{program}: "), "") }
}

/// A connected pair: ours for the runtime, theirs for the child.
fn pair() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}
