//! From settings to a ready guest: what all commands that start VMs share.

mod contents;
mod image;

use banger_lifecycle::event::{Event, Stage};
use banger_lifecycle::host::kvm;
use banger_lifecycle::machine::{BootFiles, Guest, Host, Plan, Start};
use banger_lifecycle::spec::{Ram, Vcpu, VmName};
use banger_lifecycle::workspace::Workspace;
use camino::{Utf8Path, Utf8PathBuf};

pub(crate) use self::image::{image, recipe};

use crate::cli::VmArgs;
use crate::context::Context;
use crate::errand::Keep;
use crate::error::CommandError;
use crate::settings::{Effective, Flags, Metadata, Resolved, resolve};

/// Memory in MiB where cargo runs in the guest and nobody said how much: rustc and a linker at
/// work need more than a plain command.
const RAM_FOR_CARGO: u64 = 2048;

/// What is asked for, before anything is checked.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// Settings that win over all others.
    pub(crate) flags: Flags,
    pub(crate) name: Option<String>,
    /// Whether to build the image anew first.
    pub(crate) rebuild: bool,
    pub(crate) may_be_kept: bool,
    /// An executable of the host that the guest is to run.
    pub(crate) program: Option<Utf8PathBuf>,
    /// Whether a single test is all that it runs, which has one core of the host to itself where as
    /// many run as there are cores.
    pub(crate) single_test: bool,
    /// Whether the guest has the toolchain and the crates, so that cargo may run in it.
    pub(crate) toolchain: bool,
    /// Whether what it builds is kept for later ones.
    pub(crate) builds: bool,
}

impl Wish {
    /// As the command line has it.
    pub(crate) fn of(args: &VmArgs) -> Self {
        let (name, rebuild, toolchain, builds) = (args.name.clone(), args.rebuild, true, true);
        Self { flags: args.flags(), name, rebuild, toolchain, builds, ..Self::default() }
    }
}

/// A VM that was asked for: everything checked, nothing started.
pub(crate) struct Request {
    pub(crate) settings: Effective,
    name: Option<VmName>,
    workspace: Option<Workspace>,
    rebuild: bool,
    may_be_kept: bool,
    program: Option<Utf8PathBuf>,
    toolchain: bool,
    builds: bool,
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
    pub(crate) async fn check(context: &Context, wish: Wish) -> Result<Self, CommandError> {
        let Wish { flags, name, rebuild, may_be_kept, program, single_test, toolchain, builds } =
            wish;
        let began = std::time::Instant::now();
        context.events.send(Event::Started { stage: Stage::Check });
        let workspace = Workspace::load(&context.directory, &context.cargo).await;
        let workspace = workspace.map_err(|error| {
            let hint = error.hint();
            CommandError::usage("cannot read the cargo workspace").caused_by(&error).hint(hint)
        })?;
        let root = workspace.as_ref().map(|workspace| workspace.root.as_path());
        let mut settings = Effective::check(&resolved(context, &flags, root)?)?;
        if single_test && settings.vcpu_is_auto {
            settings.spec.vcpu = Vcpu::try_from(1).expect("one is within range");
        }
        let name = name.map(|name| name.parse::<VmName>()).transpose();
        let name = name.map_err(|error| CommandError::usage(format!("name: {error}")))?;
        image::check_files(&settings)?;
        program.as_deref().map_or(Ok(()), contents::check_program)?;
        context.secure(true)?;
        context.sweep().await?;
        context.events.send(Event::Finished { stage: Stage::Check, took: began.elapsed() });
        let may_be_kept = may_be_kept || settings.keep_on_failure;
        Ok(Self { settings, name, workspace, rebuild, may_be_kept, program, toolchain, builds })
    }

    /// Gives the guest more memory where cargo runs in it and nobody said how much.
    pub(crate) fn expect_cargo(&mut self) {
        if self.settings.ram_is_auto && self.syncs() {
            let ram = Ram::try_from(RAM_FOR_CARGO).expect("the default is within range");
            self.settings.spec.ram = ram;
        }
    }

    /// When the settings want the VM left running.
    pub(crate) fn keep_on_failure(&self) -> Keep {
        if self.settings.keep_on_failure { Keep::OnFailure } else { Keep::Never }
    }

    /// Whether there is a workspace and it is to be sent.
    pub(crate) fn syncs(&self) -> bool {
        self.settings.sync && self.workspace.is_some()
    }

    /// Where commands start in the guest: where we were called, if that is sent.
    pub(crate) fn directory<'a>(&self, context: &'a Context) -> Option<&'a Utf8Path> {
        self.syncs().then_some(context.directory.as_path())
    }

    /// Builds what is missing, boots and syncs.
    pub(crate) async fn start(self, context: &Context) -> Result<Guest, CommandError> {
        let plan = self.plan(context).await?;
        let host = Host {
            layout: &context.layout,
            kvm: &kvm::probe(),
            path: context.path.as_deref(),
            program: &context.program,
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
        let programs = self.programs(&context.directory);
        let planned = async {
            let (boot, mut layers) =
                tokio::try_join!(self.boot_files(context), self.layers(context))?;
            layers.extend(contents::program_layer(context, &programs, boot.glibc()).await?);
            Ok::<_, CommandError>((boot, layers))
        };
        let planned = planned.await;
        context.events.send(Event::Finished { stage: Stage::Image, took: began.elapsed() });
        let (boot, layers) = planned?;
        let directory = self.directory(context).map(Utf8Path::to_owned);
        let builds = self.builds;
        let directories = self.directories();
        let workspace = self.workspace.filter(|_| self.settings.sync);
        Ok(Plan {
            name: self.name,
            firecracker: self.settings.firecracker,
            start: if self.settings.template { Start::Template } else { Start::Cold },
            spec: self.settings.spec,
            boot,
            layers,
            programs,
            directories,
            workspace: workspace.map(|workspace| contents::workspace_plan(workspace, builds)),
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
}
