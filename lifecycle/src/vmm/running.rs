//! A running VMM: started, watched until the guest is ready, and killed.
//!
//! ```text
//! launch ─┬─► ready ──┬─► (in use: `failure` resolves if it dies) ─┬─► kill
//!         └─► restore ┘                                            └─► save, for a template
//!    every failure carries the console's tail
//! ```

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use command_fds::{CommandFdExt as _, FdMapping};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::console::{Console, Sign};
use super::firecracker::{self, Api, Setup};
use super::qemu::qmp::{Qmp, Seen};
use super::qemu::{self, BATCHES_FD, COMMANDS_FD, CONSOLE_FD, QMP_FD};
use super::{Accelerator, Config, Memory, VmmError, log_path};
use crate::agent::Batch;
use crate::overlay::dm_snapshot;
use crate::process::{last_lines, tie_to_parent};
use crate::session::Endpoint;
use crate::spec::VmmKind;

/// How long a VMM that has closed its console may take to end.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// How long a restored guest may take until its agent is there, and how long a first and a last
/// attempt to reach it may.
const AGENT_LIMIT: Duration = Duration::from_secs(30);
const FIRST_PATIENCE: Duration = Duration::from_millis(20);
const FINDING: &str = "finding its agent";
const LONGEST_PATIENCE: Duration = Duration::from_secs(2);

/// A VMM's process. Dropping it kills it, unless it was [released](Vmm::release).
#[must_use = "dropping the VMM kills it"]
#[derive(Debug)]
pub(crate) struct Vmm {
    process: Process,
    console: Console,
    control: Control,
    program: String,
    run_dir: Utf8PathBuf,
    accelerator: Accelerator,
    memory: Memory,
}

/// How the VMM is spoken to.
#[derive(Debug)]
enum Control {
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
struct Process {
    child: Child,
    lives_on: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.lives_on {
            drop(self.child.start_kill());
        }
    }
}

impl Vmm {
    /// Starts the VMM and opens its control connection.
    ///
    /// It dies with us, unless `may_outlive` allows a later [`Vmm::release`].
    pub(crate) async fn launch(
        config: &Config,
        run_dir: &Utf8Path,
        may_outlive: bool,
    ) -> Result<Self, VmmError> {
        let launched = match config.vmm {
            VmmKind::Qemu => launch_qemu(config, run_dir, may_outlive).await,
            VmmKind::Firecracker => launch_firecracker(config, run_dir, may_outlive).await,
        };
        let (process, console, control) = launched?;
        Ok(Self {
            process,
            console,
            control,
            program: config.program.file_name().unwrap_or_default().to_owned(),
            run_dir: run_dir.to_owned(),
            accelerator: config.accelerator,
            memory: config.memory.clone(),
        })
    }

    /// Watches over the root disk, where that is a snapshot.
    pub(crate) fn watch(&mut self, disk: Option<dm_snapshot::Watch>) {
        if let Control::Firecracker { root, .. } = &mut self.control {
            *root = disk;
        }
    }

    /// Has the guest boot, and waits until its sshd listens, at most for `limit`.
    pub(crate) async fn ready(&mut self, limit: Duration) -> Result<(), VmmError> {
        if let Control::Firecracker { api, setup, .. } = &self.control {
            api.boot(setup).await?;
        }
        let silent =
            VmmError::Silent { seconds: limit.as_secs(), accelerator: self.accelerator.as_str() };
        let Self { console, process, control, .. } = self;
        let sign = tokio::select! {
            sign = console.sign() => sign,
            end = failure(&mut process.child, control) => return Err(self.explain(end).await),
            () = tokio::time::sleep(limit) => return Err(silent),
        };
        match sign {
            Some(Sign::Ready) => self.find_agent(limit).await,
            _ => Err(self.failure().await),
        }
    }

    /// Connects to the agent, within `limit`.
    ///
    /// A guest that was restored drops every connection once it notices (a transport reset), also
    /// one made just before that, and tells nobody when it has: so it is tried until the agent has
    /// answered.
    async fn find_agent(&mut self, limit: Duration) -> Result<(), VmmError> {
        let (since, mut patience) = (Instant::now(), FIRST_PATIENCE);
        loop {
            let attempt = tokio::time::timeout(patience, self.meet_agent());
            let found = attempt.await.unwrap_or_else(|_| {
                let seconds = since.elapsed().as_secs();
                Err(VmmError::NoAnswer { what: FINDING, seconds })
            });
            match found {
                Err(VmmError::Control(_) | VmmError::NoAnswer { .. })
                    if since.elapsed() < limit => {}
                found => return found,
            }
            patience = (patience * 2).min(LONGEST_PATIENCE);
            tokio::time::sleep(patience / 10).await;
        }
    }

    /// Connects to the agent and, where the way may be lost, hears it.
    async fn meet_agent(&mut self) -> Result<(), VmmError> {
        let setup = match &mut self.control {
            Control::Qemu { batches, .. } => {
                if let Some(batches) = batches.take() {
                    let (output, input) = batches.into_split();
                    self.console.speak_over(output, input, true);
                }
                return Ok(());
            }
            Control::Firecracker { setup, .. } => setup,
        };
        let batches = firecracker::connect_to(setup.home.dir(), firecracker::BATCHES).await?;
        let (output, input) = batches.into_split();
        self.console.speak_over(output, input, false);
        self.perform(FINDING, &Batch::new(), LONGEST_PATIENCE).await
    }

    /// Resolves when the VM can no longer be used, with the reason.
    pub(crate) async fn failure(&mut self) -> VmmError {
        let error = failure(&mut self.process.child, &mut self.control).await;
        self.explain(error).await
    }

    /// Has the guest go on from a template's state.
    pub(crate) async fn restore(&mut self, state: &Utf8Path) -> Result<(), VmmError> {
        match &mut self.control {
            Control::Qemu { qmp, .. } => {
                let state = fs::File::open(state)?;
                match qmp.load(state.as_fd()).await {
                    // QEMU ends when it cannot read a state, and says why.
                    Err(VmmError::Control(_)) => return Err(self.failure().await),
                    loaded => loaded?,
                }
            }
            Control::Firecracker { api, setup, .. } => {
                let [state, memory] =
                    [state, self.memory.kept()?].map(|file| setup.home.told(file));
                api.load(setup, state.as_ref(), memory.as_ref()).await?;
            }
        }
        self.find_agent(AGENT_LIMIT).await
    }

    /// Stops the guest for good and writes its devices' state, and its memory where that is not in
    /// a file yet, to new files.
    pub(crate) async fn save(&mut self, state: &Utf8Path) -> Result<(), VmmError> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(state)?;
        match &mut self.control {
            Control::Qemu { qmp, .. } => qmp.save(file.as_fd()).await?,
            Control::Firecracker { api, .. } => {
                api.save(state, self.memory.kept()?).await?;
            }
        }
        Ok(file.sync_data()?)
    }

    /// Has the guest's agent carry out a batch, within `limit`.
    pub(crate) async fn perform(
        &mut self,
        what: &'static str,
        batch: &Batch,
        limit: Duration,
    ) -> Result<(), VmmError> {
        self.converse(async |console| console.perform(what, batch, limit).await).await
    }

    /// Talks to the guest's agent; the VM's end ends it.
    pub(crate) async fn converse<T, E: From<VmmError>>(
        &mut self,
        talk: impl AsyncFnOnce(&mut Console) -> Result<T, E>,
    ) -> Result<T, E> {
        let Self { console, process, control, .. } = self;
        let end = tokio::select! {
            said = talk(console) => return said,
            end = failure(&mut process.child, control) => end,
        };
        Err(self.explain(end).await.into())
    }

    /// Awaits something that needs the guest; the VM's end ends it.
    pub(crate) async fn attend<T, E: From<VmmError>>(
        &mut self,
        other: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            done = other => done,
            error = self.failure() => Err(error.into()),
        }
    }

    /// A connection on which the agent runs commands. There is one.
    pub(crate) async fn commands(&mut self) -> Result<UnixStream, VmmError> {
        match &mut self.control {
            Control::Qemu { commands, .. } => {
                commands.take().ok_or_else(|| VmmError::Control(ErrorKind::NotConnected.into()))
            }
            Control::Firecracker { setup, .. } => {
                firecracker::connect_to(setup.home.dir(), firecracker::COMMANDS).await
            }
        }
    }

    /// Where the guest's sshd is reached from this host.
    pub(crate) async fn endpoint(&mut self) -> Result<Endpoint, VmmError> {
        match &mut self.control {
            Control::Qemu { qmp, .. } => {
                let port = qmp.forwarded_port().await?;
                Ok(Endpoint::Address(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
            }
            Control::Firecracker { setup, .. } => {
                Ok(Endpoint::Vsock(setup.home.dir().join(firecracker::VSOCK)))
            }
        }
    }

    /// The last lines of the console.
    pub(crate) fn console_tail(&self) -> String {
        self.console.tail()
    }

    /// Kills the VMM and waits for its end.
    pub(crate) async fn kill(mut self) {
        if let Err(error) = self.process.child.kill().await {
            tracing::warn!(%error, "the VMM does not die");
        }
    }

    /// Leaves the VMM running without us; it must have been launched so that it may.
    pub(crate) fn release(mut self) {
        self.process.lives_on = true;
    }

    /// Turns a bare end into what the console says led to it.
    async fn explain(&mut self, end: End) -> VmmError {
        let status = match end {
            End::FullDisk(node) => return VmmError::HostDiskFull(node),
            End::Stopped => return self.last_words(VmmError::PoweredOff),
            End::Exited(status) => status,
        };
        // What the guest printed last may still be in the socket.
        let _ = tokio::time::timeout(LAST_BREATH, self.console.drained()).await;
        self.last_words(match status.success() {
            true => VmmError::PoweredOff,
            false => ended(status, &self.run_dir, &self.program),
        })
    }

    /// What the console says of the end, or else something general.
    fn last_words(&self, general: VmmError) -> VmmError {
        match self.console.last_sign() {
            Sign::Panicked(reason) => VmmError::Panicked(reason),
            Sign::GaveUp(reason) => VmmError::GaveUp(reason),
            Sign::Booting | Sign::Ready | Sign::PoweredOff => general,
        }
    }
}

/// How a VM stops being usable.
enum End {
    Exited(ExitStatus),
    /// The guest has stopped, and its VMM does not end with it.
    Stopped,
    FullDisk(String),
}

type Launched = (Process, Console, Control);

async fn launch_qemu(
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
    command.args(qemu::args(config)).stdin(Stdio::null()).stdout(Stdio::null());
    command.fd_mappings(descriptors).map_err(std::io::Error::other)?;
    let mut process = spawn(command, run_dir, may_outlive)?;
    let (output, input) = console.into_split();
    let console = Console::follow(output, input, None);
    let qmp = tokio::select! {
        qmp = Qmp::negotiate(control) => qmp,
        status = process.child.wait() => return Err(ended(status?, run_dir, qemu::PROGRAM)),
    };
    let qmp = match qmp {
        Ok(qmp) => qmp,
        Err(VmmError::Control(_)) => {
            return Err(ended(process.child.wait().await?, run_dir, qemu::PROGRAM));
        }
        Err(error) => return Err(error),
    };
    let seen = qmp.seen();
    let (batches, commands) = (Some(batches), Some(commands));
    Ok((process, console, Control::Qemu { qmp, seen, batches, commands }))
}

async fn launch_firecracker(
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

/// Waits for the end.
async fn failure(child: &mut Child, control: &mut Control) -> End {
    let told = async {
        let end = match control {
            Control::Qemu { seen, .. } => {
                let seen = seen.wait_for(|seen| seen.full_disk.is_some()).await;
                seen.ok().and_then(|seen| seen.full_disk.clone()).map(End::FullDisk)
            }
            Control::Firecracker { signs, root, .. } => {
                let off = |sign: &Sign| matches!(sign, Sign::PoweredOff | Sign::GaveUp(_));
                let lost = async {
                    match root {
                        Some(root) => root.lost().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    stopped = signs.wait_for(off) => stopped.ok().map(|_| End::Stopped),
                    () = lost => Some(End::FullDisk("root".to_owned())),
                }
            }
        };
        match end {
            Some(end) => end,
            // Nobody is there any more who would tell: the process's end is what counts.
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        status = child.wait() => End::Exited(status.unwrap_or_default()),
        end = told => end,
    }
}

/// The VMM's end, with what it wrote.
fn ended(status: ExitStatus, run_dir: &Utf8Path, program: &str) -> VmmError {
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
