//! A running VMM: started, watched until the guest is ready, and killed.
//!
//! ```text
//! launch ─┬─► ready ──┬─► (in use: `failure` resolves if it dies) ─┬─► kill
//!         └─► restore ┘                                            └─► save, for a template
//!    every failure carries the console's tail
//! ```

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use tokio::net::UnixStream;

use super::console::{Console, Sign};
use super::end::{End, failure};
use super::keeper;
use super::launch::{self, Control, LAST_BREATH, Process, Recordings};
use super::{Accelerator, Config, Memory, VmmError, firecracker, qemu};
use crate::agent::Batch;
use crate::overlay::dm_snapshot;
use crate::session::Endpoint;
use crate::session::socket::ShortPath;
use crate::spec::VmmKind;

/// How long a VMM that was killed may take to end.
const DEATH_LIMIT: Duration = Duration::from_secs(30);

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
    recordings: Recordings,
    program: String,
    accelerator: Accelerator,
    memory: Memory,
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
            VmmKind::Qemu => launch::qemu(config, run_dir, may_outlive).await,
            VmmKind::Firecracker => launch::firecracker(config, run_dir, may_outlive).await,
        };
        let (process, console, control, recordings) = launched?;
        Ok(Self {
            process,
            console,
            control,
            recordings,
            program: config.program.file_name().unwrap_or_default().to_owned(),
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
                let connecting = firecracker::connect_to(setup.home.dir(), firecracker::COMMANDS);
                let (what, seconds) = (FINDING, AGENT_LIMIT.as_secs());
                let connected = tokio::time::timeout(AGENT_LIMIT, connecting).await;
                connected.map_err(|_| VmmError::NoAnswer { what, seconds })?
            }
        }
    }

    /// Has the agent run commands for whoever connects to a socket, in place of us; under Firecracker it
    /// is reached by others as it is.
    pub(crate) async fn open_door(&mut self, socket: &Utf8Path) -> Result<(), VmmError> {
        match &mut self.control {
            Control::Qemu { qmp, .. } => {
                let short = ShortPath::to(socket).map_err(VmmError::Control)?;
                qmp.listen(qemu::COMMANDS, &short.for_others()).await
            }
            Control::Firecracker { .. } => Ok(()),
        }
    }

    /// Has what the guest writes to a disk from now on go to another file. Firecracker cannot.
    pub(crate) async fn cover(&mut self, disk: &str, file: &Utf8Path) -> Result<(), VmmError> {
        match &mut self.control {
            Control::Qemu { qmp, .. } => qmp.cover(disk, file.as_str()).await,
            Control::Firecracker { .. } => Err(VmmError::Unsupported {
                vmm: VmmKind::Firecracker,
                what: "disks that change their files".to_owned(),
                hint: "their files are copied".to_owned(),
            }),
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
        self.end().await;
    }

    /// Kills the VMM and waits for its end; there is no use in it afterwards.
    pub(crate) async fn end(&mut self) {
        let Process { child, servants, .. } = &mut self.process;
        for child in [child].into_iter().chain(servants) {
            match tokio::time::timeout(DEATH_LIMIT, child.kill()).await {
                Ok(Ok(())) => {}
                // What comes of that is told by who looks for what is left.
                failed => tracing::warn!(?failed, "the VMM does not die"),
            }
        }
    }

    /// Leaves the VMM running without us; it must have been launched so that it may. Another process of
    /// `program`, which is `cargo-banger`, goes on with its logs.
    ///
    /// # Errors
    /// Where that cannot be started; the VMM ends then.
    pub(crate) fn release(mut self, program: &Utf8Path) -> std::io::Result<()> {
        self.console.leave();
        keeper::start(program, &self.recordings.all())?;
        self.process.lives_on = true;
        Ok(())
    }

    /// Turns a bare end into what the console says led to it.
    async fn explain(&mut self, end: End) -> VmmError {
        let status = match end {
            End::FullDisk(node) => return VmmError::HostDiskFull(node),
            End::Stopped => return self.last_words(VmmError::PoweredOff),
            End::Exited(status) => status,
            End::Deserted => {
                match tokio::time::timeout(LAST_BREATH, self.process.child.wait()).await {
                    Ok(Ok(status)) => status,
                    _ => return self.last_words(VmmError::Deserted),
                }
            }
        };
        // What the guest printed last may still be in the socket.
        let _ = tokio::time::timeout(LAST_BREATH, self.console.drained()).await;
        self.last_words(match status.success() {
            true => VmmError::PoweredOff,
            false => self.recordings.ended(status, &self.program),
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
