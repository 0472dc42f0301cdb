//! From files to a guest that runs commands.
//!
//! ```text
//! Prepared ─┬─ restore ─────────────────┬─► address ─► Booted ─► identity, disks ─► Guest
//!           │      └─ fails: discarded ─┤
//!           └─ cold boot ◄──────────────┘        └─ fails at a workspace disk: `afresh`
//! ```
//!
//! The sshd of a template stands still until the guest has random numbers of its own.

use std::time::{Duration, Instant, SystemTime};

use super::afresh::last_cause;
use super::boot_set::BootSet;
use super::ready::{ssh_config, wait_for_systemd};
use super::slots::Slots;
use super::{Guest, Prepared, stages};
use crate::agent::Batch;
use crate::error::{Cause, During as _, Error, in_full};
use crate::event::Stage;
use crate::exec::Channel;
use crate::overlay::Part;
use crate::spec::{Init, VmmKind};
use crate::template::{STATE, Template};
use crate::vmm::console::Console;
use crate::vmm::{Memory, Vmm, VmmError, clock};

/// How long the guest may take to take on its identity; mounting a disk may mean repairing it.
const IDENTITY_LIMIT: Duration = Duration::from_secs(60);

/// What it is about then.
const IDENTITY: &str = "taking on its identity";

/// How late a guest's clock may be, and how often it is set at most to get there.
const CLOCK_ERROR: Duration = Duration::from_millis(50);
const CLOCK_ATTEMPTS: usize = 4;

/// A VM whose guest is up and can be reached. Dropping it kills it and removes its files.
#[must_use = "dropping a booted VM kills it"]
#[derive(Debug)]
pub struct Booted {
    vmm: Vmm,
    prepared: Prepared,
    /// Whether this very guest has booted, so that its process 1 may still be at work.
    cold: bool,
}

impl Prepared {
    /// Starts the VMM and waits until the guest is up and has an address of its own.
    ///
    /// A template that does not restore is thrown away with a warning, and the guest boots cold.
    ///
    /// # Errors
    /// Where the VMM cannot be started, or the guest dies, panics, gives up or stays silent.
    pub async fn boot(mut self) -> Result<Booted, Error> {
        let events = self.events.clone();
        let _stage = stages::start(&events, Stage::Boot);
        if let Some((store, template)) = self.template.take() {
            match self.restore(&template).await {
                Ok(vmm) => {
                    self.template = Some((store, template));
                    return Ok(Booted { vmm, prepared: self, cold: false });
                }
                // Found below.
                Err(error) if self.is_of_disks(&error) => {
                    self.turn_cold(&[]).await.during(Stage::Boot)?;
                }
                // Nothing would start without it either.
                Err(error @ (VmmError::Start { .. } | VmmError::Version { .. })) => {
                    return Err(Cause::from(error).during(Stage::Boot));
                }
                Err(error) => {
                    let name = template.short().to_owned();
                    let why = in_full(&error);
                    events.warning(
                        format!("template {name} does not restore and is thrown away, booting cold: {why}"),
                        None,
                    );
                    store.discard(template).await.during(Stage::Boot)?;
                    self.turn_cold(&[]).await.during(Stage::Boot)?;
                }
            }
        }
        let vmm = match self.boot_cold().await {
            // A file of theirs is damaged: the guest has not even seen it.
            Err(Error { source, .. }) if matches!(&*source, Cause::Vmm(error) if self.is_of_disks(error)) =>
            {
                for part in Part::ALL {
                    self.tell_of_loss(part, &in_full(&*source));
                }
                self.turn_cold(&Part::ALL).await.during(Stage::Boot)?;
                self.boot_cold().await?
            }
            booted => booted?,
        };
        Ok(Booted { vmm, prepared: self, cold: true })
    }

    /// Starts a clone.
    async fn restore(&mut self, template: &Template) -> Result<Vmm, VmmError> {
        let limit = self.limit();
        let mut vmm = self.launch().await?;
        match tokio::time::timeout(limit, vmm.restore(&template.file(STATE))).await {
            Ok(restored) => restored?,
            Err(_) => {
                let (seconds, accelerator) = (limit.as_secs(), self.config.accelerator.as_str());
                return Err(VmmError::Silent { seconds, accelerator });
            }
        }
        self.give_address(&mut vmm).await?;
        Ok(vmm)
    }

    /// Starts a VM whose guest boots.
    pub(super) async fn boot_cold(&mut self) -> Result<Vmm, Error> {
        let mut vmm = self.launch().await.during(Stage::Boot)?;
        let limit = self.limit();
        let rising = async {
            vmm.ready(limit).await?;
            self.give_address(&mut vmm).await
        };
        match rising.await {
            Ok(()) => Ok(vmm),
            Err(error) => {
                let console = Some(vmm.console_tail());
                Err(Error { console, ..Cause::from(error).during(Stage::Boot) })
            }
        }
    }

    /// Writes down what is to be started, and starts it.
    async fn launch(&mut self) -> Result<Vmm, VmmError> {
        self.record.config = self.config.record();
        self.record.write(self.run_dir.path())?;
        let mut vmm = Vmm::launch(&self.config, self.run_dir.path(), self.may_be_kept).await?;
        vmm.watch(self.root.watch());
        Ok(vmm)
    }

    /// Gives the guest its address, and sees that somebody in it listens.
    async fn give_address(&self, vmm: &mut Vmm) -> Result<(), VmmError> {
        let mut told = Batch::new();
        if self.engine.has_vsock() {
            // No sshd of its past stands still: each connection starts one.
            told = self.identity.randomness();
        }
        if self.engine.has_link() {
            told = told.then(&self.identity.address());
        }
        vmm.perform("getting its address", &told, IDENTITY_LIMIT).await
    }

    /// Replaces a VM's files by those of a boot, disks of the workspace that are `doubted` by empty ones.
    pub(super) async fn turn_cold(&mut self, doubted: &[Part]) -> Result<(), Cause> {
        // Those of a clone may stand on its template.
        self.reopen_disks(doubted).await?;
        let Self { boot, engine, segment, run_dir, root, config, .. } = &mut *self;
        // What stands under the same names goes first.
        if let Some(snapshot) = root.snapshot.take() {
            snapshot.remove()?;
            fs_err::remove_file(run_dir.path().join(engine.root_disk()))?;
        }
        let dir = run_dir.path();
        let set = BootSet::make(boot, &config.spec, engine, segment, run_dir, dir).await?;
        (config.kernel, config.initrd, *root) = (set.kernel, set.initrd, set.root);
        (self.config.memory, self.config.state) = (Memory::Private, None);
        if self.engine.vmm == VmmKind::Firecracker {
            self.settle_anew()?;
        }
        (self.mounted, self.in_place) = (Vec::new(), false);
        self.config.tsc_khz = clock::told_at_boot(self.config.accelerator);
        Ok(())
    }

    /// Puts the disks where Firecracker is to run, as if it had not been there.
    fn settle_anew(&mut self) -> Result<(), Cause> {
        let layers: Vec<_> = self.layers.iter().collect();
        let (disks, spec) = (self.workspace_disks.as_ref(), &self.config.spec);
        let slots = Slots::of(&layers, disks, spec, self.engine.vmm);
        let mut home = self.engine.home(&self.run_dir)?;
        self.config.disks = slots.raw_disks(&self.root.path, &mut home)?;
        self.config.home = home;
        Ok(self.config.lend()?)
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.config.spec.boot_timeout_ms)
    }
}

impl Booted {
    /// Gives the guest its names, disks and time, and writes down how it is reached.
    ///
    /// # Errors
    /// Where the guest refuses, or ends.
    pub async fn connect(self) -> Result<Guest, Error> {
        let events = self.prepared.events.clone();
        let _stage = stages::start(&events, Stage::Connect);
        let Self { mut vmm, mut prepared, cold } = self;
        let channel = match enter(&mut vmm, &mut prepared, cold).await {
            Ok(channel) => channel,
            Err(cause) => {
                let cause = last_cause(&mut vmm, cause).await;
                prepared.start_afresh(&mut vmm, Part::Sources, cause, Stage::Connect).await?
            }
        };
        Ok(Guest::new(vmm, channel, prepared))
    }
}

/// Has the guest take on its identity and mount its disks.
pub(super) async fn enter(
    vmm: &mut Vmm,
    prepared: &mut Prepared,
    cold: bool,
) -> Result<Channel, Cause> {
    let disks = prepared.disks();
    let Prepared { run_dir, keys, identity, config, program, .. } = prepared;
    ssh_config(vmm, run_dir, keys, program).await?;
    let told = identity.randomness().then(&identity.names()).then(&disks);
    let talk = async |console: &mut Console| {
        console.perform(IDENTITY, &told, IDENTITY_LIMIT).await?;
        Ok::<_, Cause>(set_clock(console).await?)
    };
    vmm.converse(talk).await?;
    let channel = Channel::over(vmm.commands().await?);
    if cold && config.spec.init == Init::Systemd {
        vmm.attend(wait_for_systemd(&channel)).await?;
    }
    Ok(channel)
}

/// Sets the guest's clock by ours; again where it took so long that it was late when it was set.
async fn set_clock(console: &mut Console) -> Result<(), VmmError> {
    for _ in 0..CLOCK_ATTEMPTS {
        let began = Instant::now();
        let clock = Batch::new().clock(SystemTime::now());
        console.perform("setting its clock", &clock, IDENTITY_LIMIT).await?;
        if began.elapsed() < CLOCK_ERROR {
            break;
        }
    }
    Ok(())
}
