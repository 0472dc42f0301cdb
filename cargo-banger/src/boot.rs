//! From flags to a ready guest: what `run` and `shell` share.

use banger_lifecycle::error::Cause;
use banger_lifecycle::event::{Event, Stage};
use banger_lifecycle::host::kvm;
use banger_lifecycle::image::{Image, ImageStore, PackageList, Recipe};
use banger_lifecycle::layer::{Layer, LayerError, LayerStore, find_sysroot};
use banger_lifecycle::machine::{BootFiles, Guest, Host, Plan, Start, WorkspacePlan};
use banger_lifecycle::spec::{Ram, VmName};
use banger_lifecycle::sync::{Root, roots};
use banger_lifecycle::teardown;
use banger_lifecycle::workspace::Workspace;
use camino::{Utf8Path, Utf8PathBuf};

use crate::cli::VmArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;
use crate::settings::{Effective, Flags, Metadata, Resolved, resolve};

/// Memory in MiB where cargo runs in the guest and nobody said how much: rustc and a linker at
/// work need more than a plain command.
const RAM_FOR_CARGO: u64 = 2048;

/// A VM that was asked for: everything checked, nothing started.
pub(crate) struct Request {
    pub(crate) settings: Effective,
    name: Option<VmName>,
    workspace: Option<Workspace>,
    rebuild: bool,
    may_be_kept: bool,
}

/// Settings, resolved from all their sources.
pub(crate) fn resolved(
    context: &Context,
    flags: &Flags,
    workspace: Option<&Utf8Path>,
) -> Result<Vec<Resolved>, CommandError> {
    let mut metadata = Vec::new();
    if let Some(root) = workspace {
        let manifest = root.join("Cargo.toml");
        metadata.extend(Metadata::read(&manifest, "workspace")?);
        let nearest = context.directory.ancestors().map(|dir| dir.join("Cargo.toml"));
        if let Some(package) = nearest.into_iter().find(|manifest| manifest.exists()) {
            metadata.extend(Metadata::read(&package, "package")?);
        }
    }
    let variable = |name: &str| crate::env::read(name)?.into_string().ok();
    Ok(resolve(flags, variable, &metadata, &context.directory))
}

impl Request {
    /// Checks flags, settings and files, and clears what dead runs left. Nothing boots before all
    /// of it is right.
    pub(crate) async fn check(
        context: &Context,
        args: &VmArgs,
        mut flags: Flags,
        may_be_kept: bool,
    ) -> Result<Self, CommandError> {
        flags.extend(args.flags());
        let began = std::time::Instant::now();
        context.events.send(Event::Started { stage: Stage::Check });
        let workspace = Workspace::load(&context.directory, &context.cargo).await;
        let workspace = workspace.map_err(|error| {
            let hint = error.hint();
            CommandError::usage("cannot read the cargo workspace").caused_by(&error).hint(hint)
        })?;
        let root = workspace.as_ref().map(|workspace| workspace.root.as_path());
        let settings = Effective::check(&resolved(context, &flags, root)?)?;
        let name = args.name.as_ref().map(|name| name.parse::<VmName>());
        let name =
            name.transpose().map_err(|error| CommandError::usage(format!("name: {error}")))?;
        check_files(&settings)?;
        teardown::sweep(&context.layout).await?;
        context.events.send(Event::Finished { stage: Stage::Check, took: began.elapsed() });
        Ok(Self { settings, name, workspace, rebuild: args.rebuild, may_be_kept })
    }

    /// Gives the guest more memory where cargo runs in it and nobody said how much.
    pub(crate) fn expect_cargo(&mut self) {
        if self.settings.ram_is_auto && self.syncs() {
            let ram = Ram::try_from(RAM_FOR_CARGO).expect("the default is within range");
            self.settings.spec.ram = ram;
        }
    }

    /// Whether there is a workspace and it is to be sent.
    pub(crate) fn syncs(&self) -> bool {
        self.settings.sync && self.workspace.is_some()
    }

    /// Where commands start in the guest: where we were called, if that is sent.
    pub(crate) fn directory<'a>(&self, context: &'a Context) -> Option<&'a Utf8Path> {
        self.syncs().then_some(context.directory.as_path())
    }

    /// Builds what is missing, boots, logs in and syncs.
    pub(crate) async fn start(self, context: &Context) -> Result<Guest, CommandError> {
        let plan = self.plan(context).await?;
        let host = Host {
            layout: &context.layout,
            kvm: &kvm::probe(),
            path: context.path.as_deref(),
            events: &context.events,
        };
        let prepared = plan.prepare(host).await?;
        let mut guest = prepared.boot().await?.connect().await?;
        let sent = guest.sync().await?;
        if sent.files + sent.deleted > 0 {
            let (files, deleted) = (sent.files, sent.deleted);
            let size = indicatif::HumanBytes(sent.bytes);
            context.events.detail(format!("sent {files} files ({size}), removed {deleted}"));
        }
        Ok(guest)
    }

    /// Finds or builds the image and the layers, one beside the other.
    async fn plan(self, context: &Context) -> Result<Plan, CommandError> {
        let began = std::time::Instant::now();
        context.events.send(Event::Started { stage: Stage::Image });
        let planned = tokio::try_join!(self.boot_files(context), self.layers(context));
        context.events.send(Event::Finished { stage: Stage::Image, took: began.elapsed() });
        let (boot, layers) = planned?;
        let directory = self.directory(context).map(Utf8Path::to_owned);
        let workspace = self.workspace.filter(|_| self.settings.sync).map(workspace_plan);
        Ok(Plan {
            name: self.name,
            start: if self.settings.template { Start::Template } else { Start::Cold },
            spec: self.settings.spec,
            boot,
            layers,
            workspace,
            may_be_kept: self.may_be_kept,
            directory,
        })
    }

    async fn boot_files(&self, context: &Context) -> Result<BootFiles, CommandError> {
        let Effective { rootfs, kernel, initrd, .. } = &self.settings;
        let all_own = rootfs.is_some() && kernel.is_some() && initrd.is_some();
        let image = if all_own {
            None
        } else {
            let root = self.workspace.as_ref().map(|workspace| workspace.root.as_path());
            Some(image(context, &self.settings, root, self.rebuild).await?)
        };
        Ok(BootFiles::custom(rootfs.clone(), kernel.clone(), initrd.clone(), image))
    }

    /// The toolchain and the dependencies, where there is a workspace to use them.
    async fn layers(&self, context: &Context) -> Result<Vec<Layer>, CommandError> {
        let Some(workspace) = self.workspace.as_ref().filter(|_| self.syncs()) else {
            return Ok(Vec::new());
        };
        if !self.settings.toolchain {
            return Ok(Vec::new());
        }
        let failed =
            |error: LayerError| CommandError::from(Cause::from(error).during(Stage::Image));
        let store = LayerStore::new(&context.layout, context.events.clone());
        let toolchain = async {
            let sysroot = find_sysroot(&context.cargo, &workspace.root).await.map_err(failed)?;
            store.toolchain(&sysroot).await.map_err(failed)
        };
        let dependencies = async {
            refresh_lockfile(workspace, context).await?;
            let (manifest, lockfile) = (workspace.manifest(), workspace.lockfile());
            store.dependencies(&context.cargo, &manifest, &lockfile).await.map_err(failed)
        };
        let (toolchain, dependencies) = tokio::try_join!(toolchain, dependencies)?;
        Ok(toolchain.into_iter().chain(dependencies).collect())
    }
}

/// Finds or builds the image that the settings ask for.
pub(crate) async fn image(
    context: &Context,
    settings: &Effective,
    workspace: Option<&Utf8Path>,
    rebuild: bool,
) -> Result<Image, CommandError> {
    let recipe = recipe(settings, workspace)?;
    let store = ImageStore::new(&context.layout, context.events.clone());
    let image = store.ensure(&recipe, rebuild).await;
    image.map_err(|error| Cause::from(error).during(Stage::Image).into())
}

/// The recipe that the settings ask for.
pub(crate) fn recipe(
    settings: &Effective,
    workspace: Option<&Utf8Path>,
) -> Result<Recipe, CommandError> {
    let failed = |error: banger_lifecycle::image::ImageError| {
        let hint = error.hint();
        let mut shown = CommandError::usage(&error).hint(hint);
        if let Some(cause) = std::error::Error::source(&error) {
            shown = shown.caused_by(cause);
        }
        shown
    };
    let of_workspace = || workspace.map(|root| root.join("packages.apt")).filter(|p| p.exists());
    let packages = match settings.packages.clone().or_else(of_workspace) {
        Some(path) => PackageList::read(&path),
        None => Ok(PackageList::builtin()),
    };
    let packages = packages.map_err(|error| failed(error.into()))?;
    Recipe::new(&settings.suite, settings.mirror.clone(), &packages).map_err(|e| failed(e.into()))
}

/// Refuses a user's own file that a VM cannot boot from.
fn check_files(settings: &Effective) -> Result<(), CommandError> {
    let Effective { rootfs, kernel, initrd, .. } = settings;
    BootFiles::check(rootfs.as_deref(), kernel.as_deref(), initrd.as_deref()).map_err(|error| {
        let shown = CommandError::usage(&error);
        match std::error::Error::source(&error) {
            Some(cause) => shown.caused_by(cause),
            None => shown,
        }
    })
}

/// Has cargo complete Cargo.lock, as a build would, unless it is newer than every manifest.
async fn refresh_lockfile(workspace: &Workspace, context: &Context) -> Result<(), CommandError> {
    let modified = |path: Utf8PathBuf| path.metadata().and_then(|file| file.modified()).ok();
    let locked = modified(workspace.lockfile());
    let members = workspace.members.iter().map(|member| member.dir.join("Cargo.toml"));
    let manifests = members.chain([workspace.manifest()]).filter_map(modified).max();
    if locked.is_some() && locked >= manifests {
        return Ok(());
    }
    workspace.update_lockfile(&context.cargo).await.map_err(|error| {
        let hint = error.hint();
        CommandError::new("cannot complete Cargo.lock", exit_code::BUILD_FAILED)
            .caused_by(&error)
            .hint(hint)
    })
}

/// What of a workspace goes into the guest.
fn workspace_plan(workspace: Workspace) -> WorkspacePlan {
    let targets = [workspace.target_directory.clone()];
    let mut roots = roots(&workspace.root, &workspace.outside.dirs, &targets);
    // Of an outer workspace only its manifest is needed, for what its members inherit from it.
    for manifest in workspace.outside.manifests {
        let Some(directory) = manifest.parent() else { continue };
        if !roots.iter().any(|root| directory.starts_with(&root.host)) {
            roots.push(Root::only(directory, vec![manifest.clone()]));
        }
    }
    // An outer directory is mounted before what lies in it.
    roots.sort_by(|one, two| one.host.cmp(&two.host));
    WorkspacePlan { root: workspace.root, roots, target: workspace.target_directory }
}
