//! From a plan to a VM whose files are ready.

use std::collections::BTreeSet;
use std::ffi::OsString;

use camino::Utf8PathBuf;

use super::belongings::{belongings, programs, surroundings};
use super::boot_set::{BootSet, RootDisk};
use super::cast::cast;
use super::engine::Engine;
use super::furnish::Furniture;
use super::identity::Identity;
use super::plan::{Host, Start};
use super::shape::Shape;
use super::slots::{self, Slots};
use super::workspace_mount::Scans;
use super::{BootFiles, Plan, WorkspacePlan, stages};
use crate::agent::{Batch, Mount};
use crate::error::{Cause, During as _, Error, in_full};
use crate::event::{Events, Stage};
use crate::layer::{Layer, LayerKind};
use crate::network::{self, Network};
use crate::overlay::{Part, Place, RootOverlay, WorkspaceDisks, dm_snapshot};
use crate::rundir::record::{Meta, NetworkRecord, Uses};
use crate::rundir::{Layout, Record, RunDir};
use crate::session::Keys;
use crate::spec::Net;
use crate::sync::PullOptions;
use crate::template::{Content, MEMORY, STATE, Template, TemplateStore, WORK_OVERLAY};
use crate::vmm::{Config, Memory};

/// A VM whose files are ready. Dropping it removes them.
#[must_use = "dropping a prepared VM removes it"]
#[derive(Debug)]
pub struct Prepared {
    pub(super) config: Config,
    pub(super) identity: Identity,
    /// What the guest is told of what is on its disks.
    pub(super) belongings: Batch,
    /// What its commands find around them.
    pub(super) surroundings: Vec<(String, OsString)>,
    /// The disks that it mounts.
    pub(super) mounts: Vec<Mount>,
    /// The serial numbers of those that its template has mounted.
    pub(super) mounted: Vec<&'static str>,
    /// What shows the host's programs at their paths, once the workspace is in place.
    pub(super) programs: Batch,
    /// Whether the workspace and the programs are in place.
    pub(super) in_place: bool,
    pub(super) keys: Keys,
    /// `cargo-banger` itself.
    pub(super) program: Utf8PathBuf,
    pub(super) engine: Engine,
    /// What is to be synced.
    pub(super) workspace: Option<WorkspacePlan>,
    pub(super) scans: Option<Scans>,
    pub(super) workspace_disks: Option<WorkspaceDisks>,
    /// The disk that is mounted once the workspace is synced.
    pub(super) build_mount: Option<Mount>,
    pub(super) root: RootDisk,
    pub(super) network: Option<Network>,
    pub(super) run_dir: RunDir,
    pub(super) record: Record,
    pub(super) may_be_kept: bool,
    pub(super) fetch: PullOptions,
    pub(super) events: Events,
    pub(super) template: Option<(TemplateStore, Template)>,
    pub(super) segment: Vec<u8>,
    pub(super) boot: BootFiles,
    pub(super) layers: Vec<Layer>,
}

/// What a VM has of its own before it has anything of its template.
#[derive(Debug)]
struct Claimed {
    scans: Option<Scans>,
    workspace_disks: Option<WorkspaceDisks>,
    run_dir: RunDir,
    record: Record,
}

impl Claimed {
    /// Takes a name, writes down what will be there, and starts looking for what is to be synced.
    async fn claim(plan: &Plan, engine: &Engine, layout: &Layout) -> Result<Self, Cause> {
        let run_dir = RunDir::create(layout, plan.name.as_ref()).await?;
        let record = plan.record(layout, &run_dir, engine);
        record.write(run_dir.path())?;
        let workspace_disks = match (&plan.workspace, plan.disks(layout, &run_dir, engine)) {
            (Some(workspace), Some(place)) => {
                Some(WorkspaceDisks::open(place, workspace.target.is_some()).await?)
            }
            _ => None,
        };
        let scans = plan.workspace.as_ref().zip(workspace_disks.as_ref());
        let scans = scans.map(|(workspace, disks)| Scans::start(workspace, &disks.sources));
        Ok(Self { scans, workspace_disks, run_dir, record })
    }
}

/// What a clone starts from, and what it finds in place.
struct Origin {
    template: (TemplateStore, Template),
    layers: Vec<LayerKind>,
    workspace: bool,
}

impl Origin {
    /// The serial numbers of the disks that are mounted.
    fn mounted(&self) -> Vec<&'static str> {
        let layers = self.layers.iter().map(|kind| slots::serial(*kind));
        layers.chain(self.workspace.then_some(slots::serial_of(Part::Sources))).collect()
    }
}

impl Plan {
    /// Makes the VM's directory and disks, and starts looking for what is to be synced. Where the
    /// VM is to start from a template and there is none, that is made first.
    ///
    /// # Errors
    /// Where the name is taken, a file cannot be made or a template's guest does not come up;
    /// nothing stays then.
    pub async fn prepare(self, host: Host<'_>) -> Result<Prepared, Error> {
        let engine = Engine::choose(&self, host).map_err(Cause::from).during(Stage::Check)?;
        let keys = Keys::ensure(&host.layout.keys()).await.during(Stage::Overlay)?;
        let segment = engine.seed(self.spec.init, &keys).segment();
        let template = match self.start {
            Start::Cold => None,
            Start::Template => self.template(&engine, &segment, host).await?,
        };
        let claimed = {
            let _stage = stages::start(host.events, Stage::Overlay);
            Claimed::claim(&self, &engine, host.layout).await.during(Stage::Overlay)?
        };
        let (claimed, origin) = self.origin(template, claimed, &engine, host).await?;
        let _stage = stages::start(host.events, Stage::Overlay);
        let preparing = self.prepare_files(engine, keys, segment, claimed, origin, host);
        preparing.await.during(Stage::Overlay)
    }

    /// Decides between a template and one made from it that has more in place.
    async fn origin(
        &self,
        base: Option<(TemplateStore, Template)>,
        mut claimed: Claimed,
        engine: &Engine,
        host: Host<'_>,
    ) -> Result<(Claimed, Option<Origin>), Error> {
        let Some((store, template)) = base else { return Ok((claimed, None)) };
        let Claimed { workspace_disks, scans, .. } = &mut claimed;
        let disk = workspace_disks.as_ref().map(|disks| &disks.sources);
        let furniture = Furniture::of(self, engine, disk, scans.as_mut()).await;
        let bare = |template| Origin { template, layers: Vec::new(), workspace: false };
        let Some(furniture) = furniture else {
            return Ok((claimed, Some(bare((store, template)))));
        };
        let _stage = stages::start(host.events, Stage::Template);
        let origin = match furniture.find(self, &template, &store, engine, host).await {
            Ok(Some(furnished)) => Origin {
                layers: furniture.kinds(),
                workspace: furniture.has_workspace(),
                template: (store, furnished),
            },
            Ok(None) => bare((store, template)),
            // It is only faster.
            Err(error) => {
                let why = in_full(&error.source);
                host.events.detail(format!("no template with more in place: {why}"));
                bare((store, template))
            }
        };
        Ok((claimed, Some(origin)))
    }

    /// Finds or makes the template of this plan's shape. Where one cannot be kept, for lack of
    /// room say, a warning tells and the VM boots by itself.
    async fn template(
        &self,
        engine: &Engine,
        segment: &[u8],
        host: Host<'_>,
    ) -> Result<Option<(TemplateStore, Template)>, Error> {
        let _stage = stages::start(host.events, Stage::Template);
        let store = TemplateStore::new(host.layout, host.events.clone());
        let shape = Shape::of(&self.boot, &self.spec, engine, segment);
        let shape = shape.during(Stage::Template)?;
        let making = async |made: &camino::Utf8Path, place: &camino::Utf8Path| {
            let what = "making a template (first use of this image and shape)";
            host.events.progress(Stage::Template, what, 0, None);
            cast(self, engine, segment, host, made, place).await
        };
        let Shape { key, what } = shape;
        let content = Content { what, image: self.boot.digest(), ..Content::default() };
        let found = store.obtain(&key, &content, making).await;
        match found {
            Ok(template) => {
                host.events.detail(format!("template {}: {}", template.short(), content.what));
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
        engine: Engine,
        keys: Keys,
        segment: Vec<u8>,
        claimed: Claimed,
        origin: Option<Origin>,
        host: Host<'_>,
    ) -> Result<Prepared, Cause> {
        let Claimed { run_dir, mut record, workspace_disks, scans } = claimed;
        let template = origin.as_ref().map(|origin| origin.template.1.key().to_string());
        record.meta.uses.templates.extend(template);
        let network = Network::of(&run_dir, &mut record)?;
        let (set, memory) = match &origin {
            Some(Origin { template: (_, template), workspace, .. }) => {
                if let (Some(disks), true) = (&workspace_disks, workspace) {
                    disks.sources.start_from(&template.file(WORK_OVERLAY))?;
                }
                let Self { boot, spec, .. } = &self;
                let set = BootSet::of_template(boot, spec, template, &engine, &run_dir);
                (set.await?, Memory::Template(template.file(MEMORY)))
            }
            None => {
                let (Self { boot, spec, .. }, dir) = (&self, run_dir.path());
                let set = BootSet::make(boot, spec, &engine, &segment, &run_dir, dir).await?;
                (set, Memory::Private)
            }
        };
        let layers: Vec<_> = self.layers.iter().collect();
        let slots = Slots::of(&layers, workspace_disks.as_ref(), &self.spec, engine.vmm);
        let mut home = engine.home(&run_dir)?;
        let disks = slots.disks(&set.root.path, host.layout, &mut home).await?;
        let mut config = set.config(&run_dir, &self.spec, &engine, home, disks, memory);
        config.namespace = record.meta.network.as_ref().map(NetworkRecord::namespace_path);
        config.state = origin.as_ref().map(|origin| origin.template.1.file(STATE));
        config.lend()?;
        let (mounts, build_mount) = (slots.mounts(), slots.build_mount());
        Ok(Prepared {
            config,
            identity: Identity::new(run_dir.name().clone())?,
            belongings: belongings(&layers, engine.net, resolvers(&engine, host.events).as_deref()),
            surroundings: surroundings(&layers, engine.net),
            mounts,
            programs: programs(&self.programs, &self.directories),
            in_place: origin.as_ref().is_some_and(|origin| origin.workspace),
            mounted: origin.as_ref().map(Origin::mounted).unwrap_or_default(),
            keys,
            program: host.program.to_owned(),
            engine,
            workspace: self.workspace,
            scans,
            workspace_disks,
            build_mount,
            root: set.root,
            network,
            run_dir,
            record,
            may_be_kept: self.may_be_kept,
            fetch: self.fetch,
            events: host.events.clone(),
            template: origin.map(|origin| origin.template),
            segment,
            boot: self.boot,
            layers: self.layers,
        })
    }

    /// Where the workspace's disks are.
    fn disks(&self, layout: &Layout, run_dir: &RunDir, engine: &Engine) -> Option<Place> {
        let name = self.workspace.as_ref()?.disk_name();
        let (run, size) = (run_dir.name().as_str(), self.spec.workspace_size.bytes());
        Some(Place::new(layout, &name, run, engine.disk_format(), size))
    }

    /// What it uses of what is kept for many; of templates none is known yet.
    fn uses(&self, disks: Option<&Place>) -> Uses {
        Uses {
            images: self.boot.image_digest().into_iter().collect(),
            layers: self.layers.iter().map(|layer| layer.id().to_string()).collect(),
            templates: BTreeSet::new(),
            workspaces: disks.and_then(Place::directory_name).into_iter().collect(),
        }
    }

    /// The record, written before anything that it names is made.
    pub(super) fn record(&self, layout: &Layout, run_dir: &RunDir, engine: &Engine) -> Record {
        let disks = self.disks(layout, run_dir, engine);
        Record {
            meta: Meta {
                format: Record::FORMAT,
                name: run_dir.name().clone(),
                spec: self.spec.clone(),
                image: self.boot.digest(),
                created: humantime::format_rfc3339_seconds(std::time::SystemTime::now())
                    .to_string(),
                owns: disks.as_ref().map(Place::all_own).unwrap_or_default(),
                fetches: Vec::new(),
                devices: match engine.root {
                    RootOverlay::Snapshot => dm_snapshot::devices(&run_dir.handle()),
                    _ => Vec::new(),
                },
                network: engine.has_tap().then(|| NetworkRecord {
                    internet: (engine.net == Net::Internet).then(network::resolvers),
                    ..network::names(&run_dir.handle())
                }),
                kept: false,
                directory: self.directory.clone(),
                uses: self.uses(disks.as_ref()),
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

    /// The disk with the workspace's sources.
    pub(super) fn sources_mount(&self) -> Option<&Mount> {
        let serial = slots::serial_of(Part::Sources);
        self.mounts.iter().find(|mount| mount.serial == serial)
    }

    /// What the guest is told of its disks: what is on them, and to mount those that are not.
    pub(super) fn disks(&self) -> Batch {
        let missing = self.mounts.iter().filter(|mount| !self.mounted.contains(&mount.serial));
        missing.fold(self.belongings.clone(), Batch::disk)
    }
}

/// What a guest's `/etc/resolv.conf` has, where the network is not QEMU's own; says so where there is
/// no resolver for it.
fn resolvers(engine: &Engine, events: &Events) -> Option<String> {
    let (found, hint) = match &engine.way {
        Some(way) => (network::resolvers_behind_passt(way.reach), None),
        None if engine.has_tap() => {
            (network::resolvers(), Some("`--vmm qemu --net` asks them by way of the host"))
        }
        None => return None,
    };
    if found.is_empty() {
        let text = "this host has no resolver that the guest can reach: it finds no names";
        events.warning(text, hint);
    }
    Some(found.iter().map(|server| format!("nameserver {server}\n")).collect())
}
