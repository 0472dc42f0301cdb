//! From a plan to a booted VM.

use std::time::Duration;

use camino::Utf8PathBuf;
use fs_err as fs;
use tokio::io::AsyncWriteExt as _;

use super::guest::Guest;
use super::workspace_mount::Scans;
use super::{BootFiles, Plan, boot_files, stages};
use crate::error::{Cause, During as _, Error};
use crate::event::{Events, Stage};
use crate::host::kvm::Kvm;
use crate::layer::{Layer, LayerKind};
use crate::overlay::WorkspaceDisk;
use crate::overlay::qcow2::{self, Backing};
use crate::rundir::record::Meta;
use crate::rundir::run::control_path;
use crate::rundir::{Layout, Record, RunDir};
use crate::seed::{Mount, Seed, mountable};
use crate::session::{Endpoint, Keys, Master, SshConfig};
use crate::spec::{Accel, Net, VmSpec};
use crate::vmm::qemu::args::ADDRESS;
use crate::vmm::qemu::{Config, Qemu};
use crate::vmm::{Accelerator, Disk, Format, clock};

/// A VM whose files are ready. Dropping it removes them.
#[must_use = "dropping a prepared VM removes it"]
#[derive(Debug)]
pub struct Prepared {
    pub(super) config: Config,
    pub(super) keys: Keys,
    pub(super) control: Utf8PathBuf,
    pub(super) scans: Option<Scans>,
    pub(super) workspace_disk: Option<WorkspaceDisk>,
    pub(super) run_dir: RunDir,
    pub(super) record: Record,
    pub(super) may_be_kept: bool,
    pub(super) events: Events,
    pub(super) _layers: Vec<Layer>,
    pub(super) _boot: BootFiles,
}

impl Plan {
    /// Makes the VM's directory and disks, and starts looking for what is to be synced.
    ///
    /// # Errors
    /// Where the name is taken or a file cannot be made; nothing stays then.
    pub async fn prepare(
        self,
        layout: &Layout,
        kvm: &Kvm,
        events: &Events,
    ) -> Result<Prepared, Error> {
        let _stage = stages::start(events, Stage::Overlay);
        self.prepare_steps(layout, kvm, events).await.map_err(|cause| cause.during(Stage::Overlay))
    }

    async fn prepare_steps(
        self,
        layout: &Layout,
        kvm: &Kvm,
        events: &Events,
    ) -> Result<Prepared, Cause> {
        let mounts = self.mounts()?;
        let accelerator = choose(&self.spec, kvm, events);
        let run_dir = RunDir::create(layout, self.name.as_ref()).await?;
        let record = self.record(layout, &run_dir);
        record.write(run_dir.path())?;
        let keys = Keys::ensure(&layout.keys()).await?;
        let workspace_disk = match &self.workspace {
            Some(workspace) => {
                let run = run_dir.name().as_str();
                Some(WorkspaceDisk::open(layout, &workspace.root, run).await?)
            }
            None => None,
        };
        let scans = self.workspace.clone().zip(workspace_disk.as_ref());
        let scans = scans.map(|(workspace, disk)| Scans::start(workspace, disk));
        let overlay = run_dir.path().join("root.qcow2");
        let rootfs = self.boot.rootfs();
        let size = fs::metadata(&rootfs)?.len() + self.spec.overlay_size.bytes();
        qcow2::create(&overlay, &rootfs, Backing::Raw, Some(size)).await?;

        let initrd = run_dir.path().join("initrd.cpio");
        let path: Vec<_> = self.layers.iter().filter_map(Layer::bin).collect();
        let seed = Seed {
            name: run_dir.name(),
            init: self.spec.init,
            address: ADDRESS,
            keys: &keys,
            mounts: &mounts,
            path: &path,
            offline: self.spec.net == Net::None,
        };
        write_initrd(&initrd, &self.boot.initrd(), &seed).await?;
        let kernel = match self.boot.own_kernel() {
            Some(own) => {
                let kernel = run_dir.path().join("vmlinux");
                fs::write(&kernel, boot_files::elf_kernel(own)?)?;
                kernel
            }
            None => self.boot.image_kernel(),
        };
        let config = Config {
            name: run_dir.name().to_string(),
            accelerator,
            kernel,
            initrd,
            console_log: run_dir.path().join("console.log"),
            disks: disks(&overlay, &self.layers, workspace_disk.as_ref()),
            tsc_khz: (accelerator == Accelerator::Tcg).then(clock::tsc_khz).flatten(),
            spec: self.spec,
        };
        Ok(Prepared {
            config,
            keys,
            control: control_path(layout, run_dir.name()),
            scans,
            workspace_disk,
            run_dir,
            record,
            may_be_kept: self.may_be_kept,
            events: events.clone(),
            _layers: self.layers,
            _boot: self.boot,
        })
    }

    /// What the guest mounts at boot.
    fn mounts(&self) -> Result<Vec<Mount>, Cause> {
        let mut mounts = Vec::new();
        for layer in &self.layers {
            mounts.push(Mount {
                serial: serial(layer),
                filesystem: "erofs",
                options: "ro,noatime",
                path: layer.mount_point().to_owned(),
            });
        }
        if self.workspace.is_some() {
            mounts.push(Mount {
                serial: "work",
                filesystem: "ext4",
                options: "rw,noatime,noinit_itable",
                path: super::workspace_mount::DISK.into(),
            });
        }
        match mounts.iter().find(|mount| !mountable(&mount.path)) {
            Some(mount) => Err(Cause::Unmountable(mount.path.clone())),
            None => Ok(mounts),
        }
    }

    /// The record, written before anything that it names is made.
    fn record(&self, layout: &Layout, run_dir: &RunDir) -> Record {
        let run = run_dir.name().as_str();
        let top = |plan: &super::WorkspacePlan| WorkspaceDisk::top_path(layout, &plan.root, run);
        Record {
            meta: Meta {
                format: Record::FORMAT,
                name: run_dir.name().clone(),
                spec: self.spec.clone(),
                image: self.boot.digest(),
                created: humantime::format_rfc3339_seconds(std::time::SystemTime::now())
                    .to_string(),
                owns: self.workspace.iter().map(top).collect(),
                kept: false,
                directory: self.directory.clone(),
            },
            config: serde_json::Value::Null,
        }
    }
}

/// A VM whose guest is ready. Dropping it kills it and removes its files.
#[must_use = "dropping a booted VM kills it"]
#[derive(Debug)]
pub struct Booted {
    pub(super) vmm: Qemu,
    pub(super) prepared: Prepared,
}

impl Prepared {
    /// The VM's name.
    #[must_use]
    pub fn name(&self) -> &crate::spec::VmName {
        self.run_dir.name()
    }

    /// Starts the VMM and waits until the guest is ready.
    ///
    /// # Errors
    /// Where the VMM cannot be started, or the guest dies, panics, gives up or stays silent.
    pub async fn boot(mut self) -> Result<Booted, Error> {
        let events = self.events.clone();
        let _stage = stages::start(&events, Stage::Boot);
        let limit = Duration::from_millis(self.config.spec.boot_timeout_ms);
        self.record.config = serde_json::json!({ "qemu": self.config.args() });
        self.record.write(self.run_dir.path()).during(Stage::Boot)?;
        let mut vmm = Qemu::launch(&self.config, self.run_dir.path(), self.may_be_kept)
            .await
            .during(Stage::Boot)?;
        match vmm.ready(limit).await {
            Ok(()) => Ok(Booted { vmm, prepared: self }),
            Err(error) => {
                let console = Some(vmm.console_tail());
                Err(Error { console, ..Cause::from(error).during(Stage::Boot) })
            }
        }
    }
}

impl Booted {
    /// Logs in.
    ///
    /// # Errors
    /// Where the guest refuses, or ends.
    pub async fn connect(mut self) -> Result<Guest, Error> {
        let events = self.prepared.events.clone();
        let _stage = stages::start(&events, Stage::Connect);
        match self.log_in().await {
            Ok(master) => Guest::new(self.vmm, master, self.prepared).await,
            Err(cause) => {
                let console = Some(self.vmm.console_tail());
                Err(Error { console, ..cause.during(Stage::Connect) })
            }
        }
    }

    async fn log_in(&mut self) -> Result<Master, Cause> {
        let endpoint = Endpoint(self.vmm.ssh_address().await?);
        let Prepared { run_dir, control, keys, .. } = &self.prepared;
        let config = SshConfig::write(run_dir.path(), control, &endpoint, keys)?;
        tokio::select! {
            master = Master::connect(config) => Ok(master?),
            error = self.vmm.failure() => Err(error.into()),
        }
    }
}

/// Decides the accelerator, and says so where it is the slow one.
fn choose(spec: &VmSpec, kvm: &Kvm, events: &Events) -> Accelerator {
    match spec.accel {
        Accel::Kvm => Accelerator::Kvm,
        Accel::Tcg => Accelerator::Tcg,
        Accel::Auto if kvm.usable => Accelerator::Kvm,
        Accel::Auto => {
            let reason = kvm.reason.as_ref().map(ToString::to_string).unwrap_or_default();
            events.note(format!("slow, emulated VM (TCG): {reason}"));
            Accelerator::Tcg
        }
    }
}

/// The serial number of a layer's disk.
fn serial(layer: &Layer) -> &'static str {
    match layer.id().kind {
        LayerKind::Toolchain => "toolchain",
        LayerKind::Dependencies => "dependencies",
    }
}

/// Every disk of the VM, the root disk first.
fn disks(
    overlay: &camino::Utf8Path,
    layers: &[Layer],
    workspace: Option<&WorkspaceDisk>,
) -> Vec<Disk> {
    let root =
        Disk { serial: "root", path: overlay.to_owned(), format: Format::Qcow2, read_only: false };
    let layers = layers.iter().map(|layer| Disk {
        serial: serial(layer),
        path: layer.image().to_owned(),
        format: Format::Raw,
        read_only: true,
    });
    let work = workspace.map(|disk| Disk {
        serial: "work",
        path: disk.top().to_owned(),
        format: Format::Qcow2,
        read_only: false,
    });
    std::iter::once(root).chain(layers).chain(work).collect()
}

/// The image's initrd and the VM's own segment, one after the other.
async fn write_initrd(
    path: &camino::Utf8Path,
    base: &camino::Utf8Path,
    seed: &Seed<'_>,
) -> Result<(), Cause> {
    let mut bytes = fs_err::tokio::read(base).await?;
    // The kernel looks for the next archive at a multiple of four.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(seed.segment());
    let mut file = fs_err::tokio::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .await?;
    file.write_all(&bytes).await?;
    file.flush().await?;
    Ok(())
}
