//! From files to a guest that one is logged in to.
//!
//! ```text
//! Prepared ─┬─ restore ─────────────────┬─► essentials ─► Booted ─► names, disks ∥ login ─► Guest
//!           │      └─ fails: discarded ─┤
//!           └─ cold boot ◄──────────────┘
//! ```

use std::time::{Duration, SystemTime};

use super::boot_set::BootSet;
use super::ready::{ssh_config, wait_for_systemd};
use super::{Guest, Prepared, stages};
use crate::error::{Cause, During as _, Error, in_full};
use crate::event::Stage;
use crate::session::Master;
use crate::spec::Init;
use crate::template::{STATE, Template};
use crate::vmm::qemu::Qemu;
use crate::vmm::{Memory, VmmError};

/// How long the guest may take to take on its identity; mounting a disk may mean repairing it.
const IDENTITY_LIMIT: Duration = Duration::from_secs(60);

/// A VM whose guest is ready and like no other. Dropping it kills it and removes its files.
#[must_use = "dropping a booted VM kills it"]
#[derive(Debug)]
pub struct Booted {
    vmm: Qemu,
    prepared: Prepared,
    /// Whether this very guest has booted, so that its process 1 may still be at work.
    cold: bool,
}

impl Prepared {
    /// Starts the VMM and waits until the guest is ready and has random numbers of its own.
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
                // Nothing would start without it either.
                Err(error @ VmmError::Start { .. }) => {
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
                    self.turn_cold().await.during(Stage::Boot)?;
                }
            }
        }
        self.boot_cold().await
    }

    /// Starts a clone.
    async fn restore(&mut self, template: &Template) -> Result<Qemu, VmmError> {
        let limit = self.limit();
        let mut vmm = self.launch().await?;
        match tokio::time::timeout(limit, vmm.restore(&template.file(STATE))).await {
            Ok(restored) => restored?,
            Err(_) => {
                let (seconds, accelerator) = (limit.as_secs(), self.config.accelerator.as_str());
                return Err(VmmError::Silent { seconds, accelerator });
            }
        }
        self.give_essentials(&mut vmm).await?;
        Ok(vmm)
    }

    async fn boot_cold(mut self) -> Result<Booted, Error> {
        let mut vmm = self.launch().await.during(Stage::Boot)?;
        let mut up = vmm.ready(self.limit()).await;
        if up.is_ok() {
            up = self.give_essentials(&mut vmm).await;
        }
        match up {
            Ok(()) => Ok(Booted { vmm, prepared: self, cold: true }),
            Err(error) => {
                let console = Some(vmm.console_tail());
                Err(Error { console, ..Cause::from(error).during(Stage::Boot) })
            }
        }
    }

    /// Writes down what is to be started, and starts it.
    async fn launch(&mut self) -> Result<Qemu, VmmError> {
        self.record.config = serde_json::json!({ "qemu": self.config.args() });
        self.record.write(self.run_dir.path())?;
        Qemu::launch(&self.config, self.run_dir.path(), self.may_be_kept).await
    }

    async fn give_essentials(&self, vmm: &mut Qemu) -> Result<(), VmmError> {
        let essentials = self.identity.essentials();
        vmm.perform("taking on its identity", &essentials, IDENTITY_LIMIT).await
    }

    /// Replaces a clone's files by those of a boot.
    async fn turn_cold(&mut self) -> Result<(), Cause> {
        let dir = self.run_dir.path();
        let set = BootSet::make(&self.boot, &self.config.spec, &self.segment, dir).await?;
        (self.config.kernel, self.config.initrd) = (set.kernel, set.initrd);
        self.config.memory = Memory::Private;
        Ok(())
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.config.spec.boot_timeout_ms)
    }
}

impl Booted {
    /// Gives the guest its names, disks and time, and logs in meanwhile.
    ///
    /// # Errors
    /// Where the guest refuses, or ends.
    pub async fn connect(mut self) -> Result<Guest, Error> {
        let events = self.prepared.events.clone();
        let _stage = stages::start(&events, Stage::Connect);
        match self.enter().await {
            Ok(master) => Ok(Guest::new(self.vmm, master, self.prepared)),
            Err(cause) => {
                // Should the workspace disk be what is wrong, the next run starts from a new one.
                if let (Cause::Vmm(VmmError::Step { .. }), Some(disk)) =
                    (&cause, &self.prepared.workspace_disk)
                {
                    disk.forget().during(Stage::Connect)?;
                }
                let console = Some(self.vmm.console_tail());
                Err(Error { console, ..cause.during(Stage::Connect) })
            }
        }
    }

    async fn enter(&mut self) -> Result<Master, Cause> {
        let Self { vmm, prepared, cold } = self;
        let Prepared { run_dir, control, keys, identity, belongings, .. } = prepared;
        let config = ssh_config(vmm, run_dir, control, keys).await?;
        let told = identity.names().then(belongings).clock(SystemTime::now());
        let login = async { Ok::<_, Cause>(Master::connect(config).await?) };
        let what = "getting its names and disks";
        let master = vmm.perform_beside(what, &told, IDENTITY_LIMIT, login).await?;
        if *cold && prepared.config.spec.init == Init::Systemd {
            vmm.attend(wait_for_systemd(&master)).await?;
        }
        Ok(master)
    }
}
