//! A ready guest: commands, files, and the end.

use std::path::Path;
use std::time::Duration;

use camino::Utf8Path;
use rustix::process::Signal;

use super::Prepared;
use super::afresh::{is_damage, last_cause};
use super::ready::step;
use super::transfer::with_sftp;
use super::visit::door;
use super::workspace_mount::{
    MOUNT_LIMIT, MOUNTING, MOUNTING_BUILD, SEALING, SyncReport, Synced, freeze_build, mount_build,
    mounts, write_out_sources,
};
use super::{archive, slots, stages};
use crate::error::{Cause, During as _, Error};
use crate::event::{Events, Stage};
use crate::exec::{Channel, GuestCommand, Streams, stream};
use crate::overlay::Part;
use crate::spec::VmName;
use crate::sync::{Fetched, Wanted, pull};
use crate::teardown::remains;
use crate::vmm::{Vmm, VmmError};

/// How long a command that is killed may hold up the next one.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// How long the guest may take to write out a disk of the workspace; and where a command was given up,
/// whoever waits having waited already.
const FREEZE_LIMIT: Duration = Duration::from_secs(60);
const LATE_FREEZE_LIMIT: Duration = Duration::from_secs(10);

/// A VM that runs commands. Dropping it kills the VM and removes its files, without keeping what
/// was built; [`Guest::shutdown`] does it in order.
#[must_use = "dropping the guest kills its VM"]
#[derive(Debug)]
pub struct Guest {
    /// Whether sources were sent.
    changed: bool,
    /// Whether a command was begun whose end was not awaited.
    unfinished: bool,
    channel: Channel,
    vmm: Vmm,
    prepared: Prepared,
}

/// How a VM went down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shutdown {
    /// Whether what was built is there for the next run.
    pub workspace_kept: bool,
}

impl Guest {
    pub(super) fn new(vmm: Vmm, channel: Channel, prepared: Prepared) -> Self {
        Self { changed: false, unfinished: false, channel, vmm, prepared }
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
        loop {
            let (part, cause) = match self.put_in_place(&events).await {
                Ok(report) => return Ok(report),
                Err(failure) => failure,
            };
            let Self { vmm, prepared, .. } = self;
            let cause = last_cause(vmm, cause).await;
            self.channel = prepared.start_afresh(vmm, part, cause, Stage::Sync).await?;
        }
    }

    /// The workspace first: programs may stand in it. A failure comes with the disk that may be why.
    async fn put_in_place(&mut self, events: &Events) -> Result<SyncReport, (Part, Cause)> {
        let sent = self.send(events).await.map_err(|cause| (Part::Sources, cause))?;
        let Self { vmm, prepared, .. } = self;
        if let Some(disk) = &prepared.build_mount {
            let mounted = vmm.perform(MOUNTING_BUILD, &mount_build(disk), MOUNT_LIMIT).await;
            mounted.map_err(|error| (Part::Build, error.into()))?;
        }
        if !prepared.in_place {
            let workspace = prepared.workspace.as_ref().map(mounts);
            let mut told = workspace.unwrap_or_default().then(&prepared.programs);
            if let Some(disk) = prepared.sources_mount() {
                told = told.sound(disk);
            }
            if !told.is_empty() {
                let mounted = vmm.perform(MOUNTING, &told, MOUNT_LIMIT).await;
                mounted.map_err(|error| (Part::Sources, error.into()))?;
            }
        }
        Ok(sent)
    }

    /// Sends the workspace, and has it sealed before anything that others wrote is looked at.
    async fn send(&mut self, events: &Events) -> Result<SyncReport, Cause> {
        let Some(scans) = self.prepared.scans.take() else { return Ok(SyncReport::default()) };
        let sending = scans.send(&self.channel, events);
        let (synced, report) = self.vmm.attend(sending).await?;
        self.changed = synced.changed;
        if synced.changed {
            self.seal(&synced).await?;
        }
        Ok(report)
    }

    /// Makes what was sent the sources' newest generation, and has all that is written to their disk
    /// from now on be thrown away.
    async fn seal(&mut self, synced: &Synced) -> Result<(), Cause> {
        let Self { vmm, prepared, .. } = self;
        let Some(disks) = &mut prepared.workspace_disks else { return Ok(()) };
        // Another run may have been faster, and this one's top is thrown away as it is.
        if !disks.sources.is_newest() {
            return Ok(());
        }
        vmm.perform(SEALING, &write_out_sources(), FREEZE_LIMIT).await?;
        let node = slots::serial_of(Part::Sources);
        disks.sources.seal(async |file| Ok::<_, Cause>(vmm.cover(node, file).await?)).await?;
        let save = |key: &str, path: &Utf8Path| synced.save(key, path);
        Ok(disks.publish_sources(&synced.keys(), save).await?)
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
            Err(cause) => {
                let error = self.failed(Stage::Command, cause).await;
                self.prepared.doubt_build(&error).await;
                Err(error)
            }
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
            ended.map_err(|_| VmmError::NoAnswer { what, seconds })?
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

    /// Brings a file or directory back to the host, and tells what of it does not come.
    ///
    /// # Errors
    /// Where it is not there, is more than may be fetched, or cannot be written here; or the guest
    /// does not answer as it has to.
    pub async fn fetch(&mut self, guest: &Path, host: &Path) -> Result<(), Error> {
        let Self { channel, vmm, prepared, .. } = self;
        let Prepared { record, run_dir, events, fetch, .. } = prepared;
        let _stage = stages::start(events, Stage::Fetch);
        let progress = |_files: u64, bytes: u64| {
            events.progress(Stage::Fetch, "bringing files back", bytes, None);
        };
        let handle = run_dir.handle();
        let wanted = Wanted { guest, host, handle: &handle, options: *fetch };
        let note = |path: &Path| {
            // What the record cannot name is left to the guard alone.
            record.meta.fetches.extend(Utf8Path::from_path(path).map(Utf8Path::to_owned));
            record.write(run_dir.path())
        };
        let fetching =
            with_sftp(channel, async |session| Ok(pull(session, wanted, note, progress).await?));
        let fetched = vmm.attend(fetching).await;
        record.meta.fetches.retain(|path| path.symlink_metadata().is_ok());
        let noted = record.write(run_dir.path());
        let Fetched { skipped, .. } = fetched.during(Stage::Fetch)?;
        noted.during(Stage::Fetch)?;
        if skipped.count > 0 {
            let hint = "`--out-links` fetches links that lead out, too";
            let text = format!("not fetched: {skipped}");
            events.warning(text, (skipped.links > 0).then_some(hint));
        }
        Ok(())
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

    /// Ends the VM and removes all that was its own. What was built on its disk stays
    /// for the next run.
    ///
    /// # Errors
    /// Where something cannot be removed, or is still there afterwards.
    pub async fn shutdown(mut self) -> Result<Shutdown, Error> {
        let events = self.prepared.events.clone();
        let _stage = stages::start(&events, Stage::Teardown);
        let frozen = self.freeze().await;
        let Self { changed, vmm, prepared, .. } = self;
        vmm.kill().await;
        let Prepared { workspace_disks, root, network, run_dir, .. } = prepared;
        if let Some(snapshot) = root.snapshot {
            snapshot.remove().during(Stage::Teardown)?;
        }
        if let Some(network) = network {
            network.remove().during(Stage::Teardown)?;
        }
        let mut report = Shutdown::default();
        if let Some(disks) = workspace_disks {
            let kept = disks.finish(frozen, changed).await.during(Stage::Teardown)?;
            report.workspace_kept = kept.build;
            for workspace in kept.trimmed {
                events.detail(format!("removed the disks of workspace {workspace} for room"));
            }
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
            workspace_disks,
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
        if let Some(disks) = workspace_disks {
            disks.leave();
        }
        if let Some(snapshot) = root.snapshot {
            snapshot.leave();
        }
        if let Some(network) = network {
            network.leave();
        }
        Ok(record.meta.name)
    }

    /// Has the guest write out the disk with what it built and hold still. `false` where there is none,
    /// or the guest does not answer: what it built is then lost, and nothing else; or where that disk
    /// is damaged, which no later run is to start from.
    async fn freeze(&mut self) -> bool {
        let limit = if self.unfinished { LATE_FREEZE_LIMIT } else { FREEZE_LIMIT };
        let Self { vmm, prepared, .. } = self;
        let Some(disk) = &prepared.build_mount else { return false };
        let told = freeze_build(disk);
        match vmm.perform("freezing the disk with `target/`", &told, limit).await {
            Ok(()) => true,
            Err(error) if is_damage(&error) => {
                prepared.drop_build("its filesystem has errors").await;
                false
            }
            Err(error) => {
                prepared.events.detail(format!("what was built is not kept: {error}"));
                false
            }
        }
    }

    /// An error with the console's tail; if the VM is what ended, that is the error.
    async fn failed(&mut self, stage: Stage, cause: Cause) -> Error {
        let cause = match cause {
            Cause::Sync(_) => cause,
            other => last_cause(&mut self.vmm, other).await,
        };
        Error { console: Some(self.console_tail()), ..cause.during(stage) }
    }
}
