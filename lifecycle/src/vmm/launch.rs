//! Starting a VMM: its process, and the streams that lead to it and to its guest.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use camino::Utf8Path;
use command_fds::{CommandFdExt as _, FdMapping};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::console::{Console, Sign};
use super::firecracker::{self, Api, Setup};
use super::log::Log;
use super::outside;
use super::qemu::qmp::{Qmp, Seen};
use super::qemu::{BATCHES_FD, COMMANDS_FD, CONSOLE_FD, NETWORK_FD, PROGRAM as QEMU, QMP_FD, args};
use super::recording::Recording;
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

/// The child itself and those that serve it, killed when dropped unless they were told to live on.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    /// They end by themselves after the child, or have before it.
    pub(super) servants: Vec<Child>,
    pub(super) lives_on: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.lives_on {
            let servants = self.servants.iter_mut();
            [&mut self.child].into_iter().chain(servants).for_each(|it| drop(it.start_kill()));
        }
    }
}

/// What a VMM writes, on its way to logs.
#[derive(Debug)]
pub(super) struct Recordings {
    /// The guest's console, which ends with the VMM.
    pub(super) console: Recording,
    /// The VMM's own messages: on standard error, and what else it has for them.
    pub(super) messages: Vec<Recording>,
    /// What it counts.
    pub(super) metrics: Option<Recording>,
}

impl Recordings {
    fn of(console: Recording, stderr: Recording) -> Self {
        Self { console, messages: vec![stderr], metrics: None }
    }

    /// The VMM's end, with what it wrote.
    pub(super) fn ended(&self, status: ExitStatus, program: &str) -> VmmError {
        let text = self.messages.iter().map(|messages| messages.last(LAST_WORDS));
        let stderr = last_lines(&text.collect::<Vec<_>>().join("\n"), 5);
        VmmError::Ended { status, stderr: stderr.replace(&format!("{program}: "), "") }
    }

    /// All of them; the first ends with the VMM.
    pub(super) fn all(&self) -> Vec<&Recording> {
        let Self { console, messages, metrics } = self;
        [console].into_iter().chain(messages).chain(metrics).collect()
    }
}

/// What there is of a VMM that was started.
pub(super) type Launched = (Process, Console, Control, Recordings);

/// How long a VMM that is about to end may take.
pub(super) const LAST_BREATH: Duration = Duration::from_secs(5);

/// How much of a VMM's messages is looked at for its last words, in bytes.
const LAST_WORDS: u64 = 16 << 10;

/// Starts QEMU.
pub(super) async fn qemu(
    config: &Config,
    run_dir: &Utf8Path,
    may_outlive: bool,
) -> Result<Launched, VmmError> {
    let (console, console_theirs) = pair()?;
    let (control, control_theirs) = stream()?;
    let (batches, batches_theirs) = stream()?;
    let (commands, commands_theirs) = stream()?;
    let mut descriptors = vec![
        FdMapping { parent_fd: control_theirs, child_fd: QMP_FD },
        FdMapping { parent_fd: console_theirs, child_fd: CONSOLE_FD },
        FdMapping { parent_fd: batches_theirs, child_fd: BATCHES_FD },
        FdMapping { parent_fd: commands_theirs, child_fd: COMMANDS_FD },
    ];
    let mut servants = Vec::new();
    if let Some(way) = &config.way {
        let (passt, parent_fd) = outside::passt(way, run_dir, may_outlive).await?;
        let (gate, parent_fd) = outside::gate(way, parent_fd, run_dir, may_outlive)?;
        servants.extend([passt, gate]);
        descriptors.push(FdMapping { parent_fd, child_fd: NETWORK_FD });
    }
    let mut command = Command::new(&config.program);
    command.args(args(config)).stdin(Stdio::null()).stdout(Stdio::null());
    command.fd_mappings(descriptors).map_err(std::io::Error::other)?;
    let (mut process, stderr) = spawn(command, run_dir, may_outlive)?;
    process.servants = servants;
    let (console, recording) = follow(console, config)?;
    let recordings = Recordings::of(recording, stderr);
    let qmp = tokio::select! {
        qmp = Qmp::negotiate(control) => qmp,
        status = process.child.wait() => return Err(recordings.ended(status?, QEMU)),
    };
    let qmp = match qmp {
        Ok(qmp) => qmp,
        // Where it has ended, it has said why.
        Err(error @ VmmError::Control(_)) => {
            return Err(match tokio::time::timeout(LAST_BREATH, process.child.wait()).await {
                Ok(status) => recordings.ended(status?, QEMU),
                Err(_) => error,
            });
        }
        Err(error) => return Err(error),
    };
    let seen = qmp.seen();
    let (batches, commands) = (Some(batches), Some(commands));
    Ok((process, console, Control::Qemu { qmp, seen, batches, commands }, recordings))
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
    let recorded =
        |pipe: &str, log: &str| Recording::pipe(&home.join(pipe), Log::create(&run_dir.join(log))?);
    let log = recorded(firecracker::LOG_PIPE, firecracker::LOG)?;
    let metrics = recorded(firecracker::METRICS_PIPE, firecracker::METRICS)?;
    let (mut process, stderr) = spawn(command, run_dir, may_outlive)?;
    let (console, recording) = follow(console, config)?;
    let mut recordings = Recordings::of(recording, stderr);
    recordings.messages.push(log);
    recordings.metrics = Some(metrics);
    let api = match firecracker::connect(&mut process.child, arrival, home).await {
        Err(VmmError::Ended { status, .. }) => {
            return Err(recordings.ended(status, firecracker::PROGRAM));
        }
        api => api?,
    };
    let (setup, signs) = (Box::new(Setup::of(config)), console.signs());
    Ok((process, console, Control::Firecracker { api, setup, signs, root: None }, recordings))
}

/// Reads the console: it is followed, and recorded.
fn follow(console: StdUnixStream, config: &Config) -> std::io::Result<(Console, Recording)> {
    let [output, input] = [console.try_clone()?, console.try_clone()?].map(UnixStream::from_std);
    let recording = Recording::of(console.into(), Log::create(&config.console_log)?);
    Ok((Console::follow(output?, input?, Some(recording.log())), recording))
}

/// Starts the process; what it writes to standard error goes to its log. The command, which holds
/// the child's ends of sockets, goes: without it they close with the child.
fn spawn(
    mut command: Command,
    run_dir: &Utf8Path,
    may_outlive: bool,
) -> Result<(Process, Recording), VmmError> {
    let (ours, theirs) = pair()?;
    let messages = Recording::socket(ours, Log::create(&log_path(run_dir))?)?;
    command.stderr(theirs);
    let child = start(&mut command, may_outlive)?;
    Ok((Process { child, servants: Vec::new(), lives_on: false }, messages))
}

/// Starts a child that dies with us, unless it may live on.
pub(super) fn start(command: &mut Command, may_outlive: bool) -> Result<Child, VmmError> {
    if may_outlive {
        command.process_group(0);
    } else {
        tie_to_parent(command);
    }
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|source| VmmError::Start { program, source })
}

/// A connected pair: ours, which does not block, and theirs for the child.
fn pair() -> std::io::Result<(StdUnixStream, OwnedFd)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((ours, theirs.into()))
}

/// The same, ours for the runtime.
pub(super) fn stream() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = pair()?;
    Ok((UnixStream::from_std(ours)?, theirs))
}
