//! From a plan to a VM whose files are ready.

use camino::Utf8PathBuf;

use super::boot_set::BootSet;
use super::cast::cast;
use super::identity::Identity;
use super::plan::{Host, Start};
use super::shape::Shape;
use super::slots::Slots;
use super::workspace_mount::Scans;
use super::{BootFiles, Plan, identity, stages};
use crate::agent::Batch;
use crate::error::{Cause, During as _, Error, in_full};
use crate::event::{Events, Stage};
use crate::host::kvm::Kvm;
use crate::layer::{self, CARGO_CONFIG, Layer, LayerKind, VENDOR_MOUNT};
use crate::overlay::{WorkspaceDisk, blank};
use crate::rundir::record::Meta;
use crate::rundir::run::control_path;
use crate::rundir::{Layout, Record, RunDir};
use crate::seed::{CARGO_HOME, Seed};
use crate::session::Keys;
use crate::spec::{Accel, Net, VmSpec};
use crate::template::{MEMORY, Template, TemplateStore};
use crate::vmm::qemu::Config;
use crate::vmm::qemu::args::ADDRESS;
use crate::vmm::{Accelerator, Memory, VmmError};

/// A VM whose files are ready. Dropping it removes them.
#[must_use = "dropping a prepared VM removes it"]
#[derive(Debug)]
pub struct Prepared {
    pub(super) config: Config,
    pub(super) identity: Identity,
    /// What the guest is told once it is up, beside its identity.
    pub(super) belongings: Batch,
    /// What shows the host's programs at their paths, once the workspace is in place.
    pub(super) programs: Batch,
    pub(super) keys: Keys,
    pub(super) control: Utf8PathBuf,
    pub(super) scans: Option<Scans>,
    pub(super) workspace_disk: Option<WorkspaceDisk>,
    pub(super) run_dir: RunDir,
    pub(super) record: Record,
    pub(super) may_be_kept: bool,
    pub(super) events: Events,
    pub(super) template: Option<(TemplateStore, Template)>,
    pub(super) segment: Vec<u8>,
    pub(super) boot: BootFiles,
    pub(super) _layers: Vec<Layer>,
}

impl Plan {
    /// Makes the VM's directory and disks, and starts looking for what is to be synced. Where the
    /// VM is to start from a template and there is none, that is made first.
    ///
    /// # Errors
    /// Where the name is taken, a file cannot be made or a template's guest does not come up;
    /// nothing stays then.
    pub async fn prepare(self, host: Host<'_>) -> Result<Prepared, Error> {
        let accelerator = choose(&self.spec, host.kvm, host.events);
        let keys = Keys::ensure(&host.layout.keys()).await.during(Stage::Overlay)?;
        let segment = Seed { init: self.spec.init, address: ADDRESS, keys: &keys }.segment();
        let template = match self.start {
            Start::Cold => None,
            Start::Template => self.template(accelerator, &keys, &segment, host).await?,
        };
        let _stage = stages::start(host.events, Stage::Overlay);
        let preparing = self.prepare_files(accelerator, keys, segment, template, host);
        preparing.await.during(Stage::Overlay)
    }

    /// Finds or makes the template of this plan's shape. Where one cannot be kept, for lack of
    /// room say, a warning tells and the VM boots by itself.
    async fn template(
        &self,
        accelerator: Accelerator,
        keys: &Keys,
        segment: &[u8],
        host: Host<'_>,
    ) -> Result<Option<(TemplateStore, Template)>, Error> {
        let _stage = stages::start(host.events, Stage::Template);
        let store = TemplateStore::new(host.layout, host.events.clone());
        let shape = Shape::of(&self.boot, &self.spec, accelerator, segment, host);
        let shape = shape.during(Stage::Template)?;
        let making = async |made: &camino::Utf8Path, place: &camino::Utf8Path| {
            let what = "making a template (first use of this image and shape)";
            host.events.progress(Stage::Template, what, 0, None);
            cast(self, accelerator, keys, segment, host, made, place).await
        };
        let found = store.obtain(&shape.key, &shape.what, self.boot.digest(), making).await;
        match found {
            Ok(template) => {
                host.events.detail(format!("template {}: {}", template.short(), shape.what));
                Ok(Some((store, template)))
            }
            Err(error) if error.stage == Stage::Template => {
                let hint = error.source.hint();
                let text = format!("no template, booting by itself: {}", in_full(&error.source));
                host.events.warning(text, hint.as_deref());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn prepare_files(
        self,
        accelerator: Accelerator,
        keys: Keys,
        segment: Vec<u8>,
        template: Option<(TemplateStore, Template)>,
        host: Host<'_>,
    ) -> Result<Prepared, Cause> {
        let layout = host.layout;
        let run_dir = RunDir::create(layout, self.name.as_ref()).await?;
        let record = self.record(layout, &run_dir);
        record.write(run_dir.path())?;
        let workspace_disk = match &self.workspace {
            Some(workspace) => {
                let run = run_dir.name().as_str();
                Some(WorkspaceDisk::open(layout, &workspace.root, run).await?)
            }
            None => None,
        };
        let scans = self.workspace.clone().zip(workspace_disk.as_ref());
        let scans = scans.map(|(workspace, disk)| Scans::start(workspace, disk));
        let (set, memory) = match &template {
            Some((_, template)) => {
                let set = BootSet::of_template(&self.boot, template, run_dir.path())?;
                (set, Memory::Template(template.file(MEMORY)))
            }
            None => {
                let set = BootSet::make(&self.boot, &self.spec, &segment, run_dir.path()).await?;
                (set, Memory::Private)
            }
        };
        let blank = blank::ensure(layout).await?;
        let slots = Slots { layers: &self.layers, workspace: workspace_disk.as_ref() };
        let disks = slots.disks(&set.root, &blank, run_dir.path())?;
        let config = set.config(&run_dir, &self.spec, accelerator, disks, memory);
        let belongings = belongings(&slots, self.spec.net == Net::None);
        Ok(Prepared {
            config,
            identity: Identity::new(run_dir.name().clone())?,
            belongings,
            programs: programs(&self.programs, &self.directories),
            keys,
            control: control_path(layout, run_dir.name()),
            scans,
            workspace_disk,
            run_dir,
            record,
            may_be_kept: self.may_be_kept,
            events: host.events.clone(),
            template,
            segment,
            boot: self.boot,
            _layers: self.layers,
        })
    }

    /// The record, written before anything that it names is made.
    pub(super) fn record(&self, layout: &Layout, run_dir: &RunDir) -> Record {
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

impl Prepared {
    /// The VM's name.
    #[must_use]
    pub fn name(&self) -> &crate::spec::VmName {
        self.run_dir.name()
    }

    /// Where the guest failed at a step, the workspace disk may be what is wrong: the next run
    /// starts from an empty one.
    pub(super) fn doubt_disk(&self, cause: &Cause) -> std::io::Result<()> {
        match (cause, &self.workspace_disk) {
            (Cause::Vmm(VmmError::Step { .. }), Some(disk)) => disk.forget(),
            _ => Ok(()),
        }
    }
}

/// What stands for `cargo-banger` in a guest: a workspace whose cargo runs programs in VMs is in one
/// already.
const RUNNER: &str = "#!/bin/sh\n\
    # Written by banger.\n\
    [ \"$1 $2\" = 'banger runner' ] || { echo 'this is a VM of banger already' >&2; exit 240; }\n\
    shift 2\n\
    exec \"$@\"\n";

/// Has the guest mount its disks and know what is on them.
fn belongings(slots: &Slots<'_>, offline: bool) -> Batch {
    let path: Vec<_> = slots.layers.iter().filter_map(Layer::bin).collect();
    let mut batch = Batch::new()
        .directory("/etc/profile.d")
        .file("/etc/profile.d/banger.sh", 0o644, &identity::profile(&path, offline))
        .directory("/usr/local/bin")
        .file("/usr/local/bin/cargo-banger", 0o755, RUNNER)
        .directory(CARGO_HOME);
    if slots.layers.iter().any(|layer| layer.id().kind == LayerKind::Dependencies) {
        let config = format!("{VENDOR_MOUNT}/{CARGO_CONFIG}");
        batch = batch.link(&format!("{CARGO_HOME}/config.toml"), &config);
    }
    slots.mounts().iter().fold(batch, Batch::disk)
}

/// Shows each program of the programs layer at its own path, and makes directories.
fn programs(paths: &[Utf8PathBuf], directories: &[Utf8PathBuf]) -> Batch {
    let made = directories.iter().fold(Batch::new(), |batch, path| batch.directory(path.as_str()));
    let show = |batch: Batch, (number, path): (usize, &Utf8PathBuf)| {
        batch.show(&layer::place(number), path.as_str())
    };
    paths.iter().enumerate().fold(made, show)
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
