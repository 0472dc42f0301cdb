//! The second tier of templates: a guest of a template that has mounted, and read, what its VMs
//! would mount and read first.
//!
//! | a VM that | finds in place | which is made at its |
//! |---|---|---|
//! | builds in its workspace | the toolchain, mounted and in the page cache | 2nd use |
//! | only runs what the host built | all its layers, its workspace and the programs | 12th use |
//!
//! A VM that builds gets no workspace from a template: who builds has mostly changed the sources, and
//! the template would be stale at the next run. The numbers of uses are those
//! after which what the earlier ones lost is what making it costs, so that it never costs more than
//! twice what the best choice would have (the "ski rental" rule).
//!
//! ```text
//! template ─ memory copied, disks on top ─► restored ─► mounts, reads ─► quiet ─► saved
//! ```

use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::belongings::programs;
use super::boot_set::{BootSet, RootDisk};
use super::cast::{freeze, launch, noted};
use super::engine::Engine;
use super::plan::Host;
use super::slots::Slots;
use super::workspace_mount::{Scans, mounts};
use super::{Plan, WorkspacePlan};
use crate::agent::Batch;
use crate::error::{Cause, During as _, Error};
use crate::event::Stage;
use crate::layer::{Layer, LayerKind};
use crate::overlay::qcow2::{self, Backing};
use crate::overlay::{WorkspaceDisk, raw};
use crate::process::quote;
use crate::rundir::{KeyHasher, RunDir};
use crate::spec::VmmKind;
use crate::template::{
    BASE, Content, INITRD, MEMORY, ROOT, STATE, Template, TemplateKey, TemplateStore, VMLINUX,
    WORK, WORK_OVERLAY,
};
use crate::vmm::firecracker::Home;
use crate::vmm::{Config, Memory, VmmError};
use crate::workspace::Trust;

/// The version of what a furnished guest has.
const FORMAT: &str = "3";

/// The use at which one is made for VMs that build, and for those that do not.
const USES_BUILDING: u64 = 2;
const USES_RUNNING: u64 = 12;

/// How long the guest may take to restore, and to mount and read everything.
const RESTORE_LIMIT: Duration = Duration::from_secs(60);
const READ_LIMIT: Duration = Duration::from_secs(120);

/// What a VM finds in place.
#[derive(Debug)]
pub(super) struct Furniture<'a> {
    layers: Vec<&'a Layer>,
    /// The workspace and its disk, with the programs.
    workspace: Option<(&'a WorkspacePlan, &'a WorkspaceDisk)>,
}

impl<'a> Furniture<'a> {
    /// What pays to have in place for a plan's VM; `None` where nothing does.
    pub(super) async fn of(
        plan: &'a Plan,
        engine: &Engine,
        disk: Option<&'a WorkspaceDisk>,
        scans: Option<&mut Scans>,
    ) -> Option<Self> {
        // Where disks are whole copies and memory is written out whole, it does not pay.
        if engine.vmm != VmmKind::Qemu {
            return None;
        }
        let (workspace, disk) = (plan.workspace.as_ref()?, disk?);
        // No template holds what is untrusted.
        if workspace.target.is_some() || workspace.trust == Trust::Untrusted {
            let toolchain = |layer: &&Layer| layer.id().kind == LayerKind::Toolchain;
            let layers: Vec<_> = plan.layers.iter().filter(toolchain).collect();
            return (!layers.is_empty()).then_some(Self { layers, workspace: None });
        }
        let unchanged = disk.newest().is_some() && scans?.unchanged().await;
        let layers = plan.layers.iter().collect();
        unchanged.then_some(Self { layers, workspace: Some((workspace, disk)) })
    }

    /// Whether the workspace and the programs are in place.
    pub(super) fn has_workspace(&self) -> bool {
        self.workspace.is_some()
    }

    /// The layers in place.
    pub(super) fn kinds(&self) -> Vec<LayerKind> {
        self.layers.iter().map(|layer| layer.id().kind).collect()
    }

    /// Finds the template that has this in place. Where there is none, and it pays by now, it is
    /// made, unless another process is at it.
    pub(super) async fn find(
        &self,
        plan: &Plan,
        base: &Template,
        store: &TemplateStore,
        engine: &Engine,
        host: Host<'_>,
    ) -> Result<Option<Template>, Error> {
        let key = self.key(plan, base);
        if let Some(template) =
            store.find(&key).await.map_err(Cause::from).during(Stage::Template)?
        {
            return Ok(Some(template));
        }
        let uses = store.count_use(&key).map_err(Cause::from).during(Stage::Template)?;
        if uses < if self.has_workspace() { USES_RUNNING } else { USES_BUILDING } {
            return Ok(None);
        }
        let making = async |made: &Utf8Path, place: &Utf8Path| {
            host.events.progress(Stage::Template, "making a template with more in place", 0, None);
            let furnished = Furnished { furniture: self, plan, base, engine, host };
            furnished.cast(made, place).await
        };
        store.make(&key, &self.content(plan, base), making).await
    }

    fn key(&self, plan: &Plan, base: &Template) -> TemplateKey {
        let mut hasher = KeyHasher::default();
        hasher.field("furnished", FORMAT).field("base", base.key().as_str());
        for layer in &self.layers {
            hasher.field("layer", layer.id().to_string());
        }
        if let Some((workspace, disk)) = self.workspace {
            hasher.field("workspace", workspace.root.as_str());
            hasher.field("disk", disk.newest().map_or_else(String::new, Utf8PathBuf::into_string));
            let roots = workspace.roots.iter().map(|root| &root.host);
            for path in roots.chain(&plan.programs).chain(&plan.directories) {
                hasher.field("path", path.as_str());
            }
        }
        TemplateKey::of(&hasher)
    }

    fn content(&self, plan: &Plan, base: &Template) -> Content {
        let layers: Vec<_> = self.layers.iter().map(|layer| layer.id().kind.as_str()).collect();
        let layers = layers.join(", ");
        let workspace = self.workspace.map(|(workspace, _)| workspace.root.clone());
        let of = workspace.iter().map(|root| format!(" of {root}")).collect::<String>();
        Content {
            what: format!("template {} with {layers}{of} in place", base.short()),
            image: plan.boot.digest(),
            workspace,
            stands_on: self.workspace.and_then(|(_, disk)| disk.newest()),
        }
    }

    /// What is in the slots, with the workspace's sources at `top`.
    fn slots<'b>(&'b self, plan: &Plan, top: Option<&'b Utf8Path>) -> Slots<'b> {
        let (layers, size) = (&self.layers, plan.spec.workspace_size.bytes());
        Slots { layers, sources: top, build: None, size, vmm: VmmKind::Qemu }
    }

    /// Mounts everything.
    fn mounted(&self, plan: &Plan) -> Batch {
        let top = self.workspace.map(|(_, disk)| disk.top());
        let slots = self.slots(plan, top);
        let batch = slots.mounts().iter().fold(Batch::new(), Batch::disk);
        match self.workspace {
            Some((workspace, _)) => {
                batch.then(&mounts(workspace)).then(&programs(&plan.programs, &plan.directories))
            }
            None => batch,
        }
    }

    /// Has the guest's page cache hold what every build, or the first of the programs, reads.
    fn read(&self, plan: &Plan) -> Batch {
        let toolchain = self.layers.iter().find(|layer| layer.bin().is_some());
        let program = plan.programs.first().filter(|_| self.has_workspace());
        let files = match (toolchain, program) {
            (_, Some(program)) => {
                format!("{} /lib/*/libgcc_s.so.1 /lib/*/libm.so.6", quote(program.as_str()))
            }
            (Some(toolchain), None) => {
                let root = quote(toolchain.mount_point().as_str());
                format!("{root}/bin/cargo {root}/bin/rustc {root}/lib/*.so /usr/bin/ld")
            }
            (None, None) => return Batch::new(),
        };
        Batch::new().run("/bin/sh", ["-c", &format!("cat {files} >/dev/null 2>&1")])
    }
}

/// One being made.
struct Furnished<'a> {
    furniture: &'a Furniture<'a>,
    plan: &'a Plan,
    base: &'a Template,
    engine: &'a Engine,
    host: Host<'a>,
}

impl Furnished<'_> {
    /// Makes it in `made`, which becomes `place`.
    async fn cast(&self, made: &Utf8Path, place: &Utf8Path) -> Result<(), Error> {
        let run_dir = RunDir::create(self.host.layout, None).await.during(Stage::Template)?;
        let config = self.config(made, &run_dir).await.during(Stage::Template)?;
        let Self { plan, engine, host, .. } = self;
        let record = noted(plan, engine, host.layout, &run_dir).during(Stage::Template)?;
        let mut vmm = launch(record, &config, &run_dir).await?;
        let outcome = async {
            let state = self.base.file(STATE);
            let restored = tokio::time::timeout(RESTORE_LIMIT, vmm.restore(&state)).await;
            restored.map_err(|_| self.silent())??;
            let told = Batch::new().clock(SystemTime::now());
            let told =
                told.then(&self.furniture.mounted(self.plan)).then(&self.furniture.read(self.plan));
            vmm.perform("putting things in place", &told, READ_LIMIT).await?;
            freeze(&mut vmm, self.plan, self.engine, made, place).await
        };
        let outcome: Result<(), Cause> = outcome.await;
        let console = vmm.console_tail();
        vmm.kill().await;
        outcome
            .map_err(|cause| Error { console: Some(console), ..cause.during(Stage::Template) })?;
        if self.furniture.has_workspace() {
            let (overlay, work) = (made.join(WORK_OVERLAY), place.join(WORK));
            let size = self.plan.spec.workspace_size.bytes();
            let over = qcow2::create_ahead(&overlay, &work, size).await;
            over.during(Stage::Template)?;
        }
        Ok(())
    }

    fn silent(&self) -> VmmError {
        let (seconds, accelerator) = (RESTORE_LIMIT.as_secs(), self.engine.accelerator.as_str());
        VmmError::Silent { seconds, accelerator }
    }

    /// The VM: the template's, with a copy of its memory, and what is to be mounted in its slots.
    async fn config(&self, made: &Utf8Path, run_dir: &RunDir) -> Result<Config, Cause> {
        let Self { furniture, plan, base, .. } = self;
        // As links, it does not need the template it was made from.
        for (from, to) in [(INITRD, INITRD), (VMLINUX, VMLINUX), (ROOT, BASE)] {
            if base.file(from).exists() {
                fs::hard_link(base.file(from), made.join(to))?;
            }
        }
        qcow2::create_beside(&made.join(ROOT), BASE).await?;
        let memory = made.join(MEMORY);
        raw::copy(&base.file(MEMORY), &memory).await?;
        let work = match furniture.workspace.and_then(|(_, disk)| disk.newest()) {
            Some(newest) => {
                let work = made.join(WORK);
                qcow2::create(&work, &newest, Backing::Qcow2, None).await?;
                Some(work)
            }
            None => None,
        };
        let kernel = match plan.boot.own_kernel() {
            Some(_) => made.join(VMLINUX),
            None => plan.boot.image_kernel(),
        };
        let set =
            BootSet { kernel, initrd: made.join(INITRD), root: RootDisk::file(made.join(ROOT)) };
        let slots = furniture.slots(plan, work.as_deref());
        let mut home = Home::open(run_dir.path());
        let disks = slots.disks(&set.root.path, self.host.layout, &mut home).await?;
        Ok(set.config(run_dir, &plan.spec, self.engine, home, disks, Memory::Continued(memory)))
    }
}
