//! A ready guest: commands, files, and the end.

use std::path::Path;
use std::time::Duration;

use camino::Utf8Path;
use rustix::process::Signal;

use super::Prepared;
use super::ready::step;
use super::transfer::with_sftp;
use super::visit::door;
use super::workspace_mount::{MOUNT_LIMIT, MOUNTING, Mounted, Scans, SyncReport, freeze};
use super::{archive, stages};
use crate::agent::Batch;
use crate::error::{Cause, During as _, Error};
use crate::event::{Events, Stage};
use crate::exec::{Channel, GuestCommand, Streams, stream};
use crate::spec::VmName;
use crate::sync::pull;
use crate::teardown::remains;
use crate::vmm::{Vmm, VmmError};

/// How long a command that is killed may hold up the next one.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How long the guest may take to write out the workspace disk; and where a command was given up, whoever
/// waits having waited already.
const FREEZE_LIMIT: Duration = Duration::from_secs(60);
const LATE_FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// A VM that runs commands. Dropping it kills the VM and removes its files, without keeping what
/// was built; [`Guest::shutdown`] does it in order.
#[must_use = "dropping the guest kills its VM"]
#[derive(Debug)]
pub struct Guest {
    mounted: Option<Mounted>,
    /// Whether a command was begun whose end was not awaited.
    unfinished: bool,
    channel: Channel,
    vmm: Vmm,
    prepared: Prepared,
}

/// How a VM went down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// Whether the workspace disk became the newest of its workspace.
    pub workspace_kept: bool,
}

impl Guest {
    pub(super) fn new(vmm: Vmm, channel: Channel, prepared: Prepared) -> Self {
        Self { mounted: None, unfinished: false, channel, vmm, prepared }
    }

    /// The VM's name.
    #[must_use]
    pub fn name(&self) -> &VmName {
        self.prepared.name()
    }

    /// The last lines of the guest's console.
    #[must_use]
    pub fn console_tail(&self) -> String {
        self.vmm.console_tail()
    }

    /// Sends what changed in the workspace, and puts it and the host's programs in place.
    ///
    /// # Errors
    /// Where a file cannot be read here or written there.
    pub async fn sync(&mut self) -> Result<SyncReport, Error> {
        let events = self.prepared.events.clone();
        let _stage = stages::start(&events, Stage::Sync);
        let scans = self.prepared.scans.take();
        match self.put_in_place(scans, &events).await {
            Ok(report) => Ok(report),
            Err(cause) => {
                self.prepared.doubt_disk(&cause).during(Stage::Sync)?;
                Err(self.failed(Stage::Sync, cause).await)
            }
        }
    }

    /// The workspace first: programs may stand in it.
    async fn put_in_place(
        &mut self,
        scans: Option<Scans>,
        events: &Events,
    ) -> Result<SyncReport, Cause> {
        let mut mounts = Batch::new();
        let mut sent = SyncReport::default();
        if let Some(scans) = scans {
            mounts = scans.mounts();
            let sending = scans.send(&self.channel, events);
            let (mounted, report) = self.vmm.attend(sending).await?;
            self.mounted = Some(mounted);
            sent = report;
        }
        if !self.prepared.in_place {
            let told = mounts.then(&self.prepared.programs);
            if !told.is_empty() {
                self.vmm.perform(MOUNTING, &told, MOUNT_LIMIT).await?;
            }
        }
        Ok(sent)
    }

    /// Runs a command with the given streams and returns its exit status; death by signal `n` is
    /// `128 + n`.
    ///
    /// `interrupt` is awaited beside the command; when it resolves, its signal goes to the command's
    /// process group, and it is awaited again.
    ///
    /// # Errors
    /// Where the guest or the connection ends before the command does.
    pub async fn run(
        &mut self,
        command: GuestCommand,
        streams: Streams<'_>,
        mut interrupt: impl AsyncFnMut() -> Signal,
    ) -> Result<u8, Error> {
        let command = command.within(&self.prepared.surroundings);
        let events = self.prepared.events.clone();
        let _stage = stages::start(&events, Stage::Command);
        self.unfinished = true;
        let Self { channel, vmm, .. } = self;
        let running = stream::run_signalled(channel, &command, streams, &mut interrupt);
        let result = vmm.attend(async { running.await.map_err(Cause::from) }).await;
        self.unfinished = false;
        match result {
            Ok(status) => Ok(status),
            Err(cause) => Err(self.failed(Stage::Command, cause).await),
        }
    }

    /// Kills what is left of the last command.
    ///
    /// # Errors
    /// Where the guest does not answer.
    pub async fn kill_command(&mut self) -> Result<(), Error> {
        let killing = async {
            self.channel.signal(Signal::KILL).await;
            // Once another has run, it is gone.
            step(&self.channel, "ending the command", ":".to_owned()).await
        };
        let next = async {
            let ended = tokio::time::timeout(KILL_LIMIT, killing).await;
            let (what, seconds) = ("ending the command", KILL_LIMIT.as_secs());
            Ok(ended.map_err(|_| VmmError::NoAnswer { what, seconds })??)
        };
        let killed = self.vmm.attend::<(), Cause>(next).await;
        self.unfinished &= killed.is_err();
        killed.during(Stage::Command)
    }

    /// Whether the guest's kernel has killed something for want of memory, which a command that
    /// ended with this status may be the sign of.
    #[must_use]
    pub fn ran_out_of_memory(&self, status: u8) -> bool {
        const KILLED: u8 = 128 + 9;
        status == KILLED && self.console_tail().contains("Out of memory: Killed process")
    }

    /// Brings a file or directory back to the host.
    ///
    /// # Errors
    /// Where it is not there, or cannot be written here.
    pub async fn fetch(&mut self, guest: &Path, host: &Path) -> Result<(), Error> {
        let events = self.prepared.events.clone();
        let _stage = stages::start(&events, Stage::Fetch);
        let progress = |_files: u64, bytes: u64| {
            events.progress(Stage::Fetch, "bringing files back", bytes, None);
        };
        let fetching = with_sftp(&self.channel, async |sftp| {
            Ok(pull(sftp, guest, host, progress).await.map(drop)?)
        });
        self.vmm.attend(fetching).await.during(Stage::Fetch)
    }

    /// Copies a file or directory of the host into the guest, as `cp -a` would; it belongs to root
    /// there.
    ///
    /// # Errors
    /// Where it cannot be read here or written there.
    pub async fn push(&mut self, host: &Path, guest: &Path) -> Result<(), Error> {
        let events = self.prepared.events.clone();
        let _stage = stages::start(&events, Stage::Sync);
        let pushing = archive::push(&self.channel, host, guest);
        match self.vmm.attend(pushing).await {
            Ok(()) => Ok(()),
            Err(cause) => Err(self.failed(Stage::Sync, cause).await),
        }
    }

    /// Ends the VM and removes all that was its own. What was built on the workspace disk stays
    /// for the next run.
    ///
    /// # Errors
    /// Where something cannot be removed, or is still there afterwards.
    pub async fn shutdown(mut self) -> Result<Shutdown, Error> {
        let events = self.prepared.events.clone();
        let _stage = stages::start(&events, Stage::Teardown);
        let frozen = self.freeze().await;
        let Self { mounted, vmm, prepared, .. } = self;
        vmm.kill().await;
        let Prepared { workspace_disk, root, network, run_dir, .. } = prepared;
        if let Some(snapshot) = root.snapshot {
            snapshot.remove().during(Stage::Teardown)?;
        }
        if let Some(network) = network {
            network.remove().during(Stage::Teardown)?;
        }
        let mut report = Shutdown::default();
        if let (Some(disk), Some(mounted), true) = (workspace_disk, mounted, frozen)
            && (mounted.changed || (mounted.builds && disk.dirty().during(Stage::Teardown)?))
        {
            let save = |key: &str, path: &Utf8Path| mounted.save(key, path);
            report.workspace_kept =
                disk.commit(&mounted.keys(), save).await.during(Stage::Teardown)?;
        }
        let path = run_dir.path().to_owned();
        drop(run_dir);
        let left = remains::processes(&path).during(Stage::Teardown)?;
        if !left.is_empty() || path.exists() {
            let what = format!("`{path}` or its processes {left:?} are still there");
            return Err(Cause::Io(std::io::Error::other(what)).during(Stage::Teardown));
        }
        Ok(report)
    }

    /// Leaves the VM running under its name after we end.
    ///
    /// # Errors
    /// Where its record cannot be written; the VM ends then.
    pub async fn keep(self) -> Result<VmName, Error> {
        let Self { mut vmm, prepared, .. } = self;
        let Prepared {
            mut record,
            mut run_dir,
            workspace_disk,
            root,
            network,
            events,
            program,
            ..
        } = prepared;
        record.meta.kept = true;
        record.write(run_dir.path()).during(Stage::Teardown)?;
        if let Err(error) = vmm.open_door(&door(run_dir.path())).await {
            events.detail(format!("shells reach it over its network only: {error}"));
        }
        vmm.release(&program).during(Stage::Teardown)?;
        run_dir.stay();
        if let Some(disk) = workspace_disk {
            // The VM goes on writing to it; `stop` or a sweep removes it with the record.
            std::mem::forget(disk);
        }
        if let Some(snapshot) = root.snapshot {
            snapshot.leave();
        }
        if let Some(network) = network {
            network.leave();
        }
        Ok(record.meta.name)
    }

    /// Has the guest write out the workspace disk and hold still. `false` where nothing on it is to
    /// be kept, or the guest does not answer: what it built is then lost, and nothing else.
    async fn freeze(&mut self) -> bool {
        if !self.mounted.as_ref().is_some_and(|mounted| mounted.changed || mounted.builds) {
            return false;
        }
        let limit = if self.unfinished { LATE_FREEZE_LIMIT } else { FREEZE_LIMIT };
        let frozen = self.vmm.perform("freezing the workspace disk", &freeze(), limit).await;
        if let Err(error) = &frozen {
            self.prepared.events.detail(format!("what was built is not kept: {error}"));
        }
        frozen.is_ok()
    }

    /// An error with the console's tail; if the VM is what ended, that is the error.
    async fn failed(&mut self, stage: Stage, cause: Cause) -> Error {
        let grace = Duration::from_millis(500);
        let cause = match cause {
            Cause::Vmm(_) | Cause::Sync(_) => cause,
            // A dying VM takes the connection with it, and either may be noticed first.
            other => match tokio::time::timeout(grace, self.vmm.failure()).await {
                Ok(error) => error.into(),
                Err(_) => other,
            },
        };
        Error { console: Some(self.console_tail()), ..cause.during(stage) }
    }
}
