//! From settings to a ready guest: what all commands that start VMs share.

mod contents;
mod image;
mod inputs;
mod place;

use banger_lifecycle::event::{Event, Stage};
use banger_lifecycle::host::kvm;
use banger_lifecycle::machine::{BootFiles, Guest, Host, Plan, Start};
use banger_lifecycle::spec::{Ram, Vcpu, VmName};
use banger_lifecycle::workspace::Trust;
use camino::{Utf8Path, Utf8PathBuf};

pub(crate) use self::image::{image, recipe};
pub(crate) use self::place::Place;
use self::place::Tree;

use crate::cli::VmArgs;
use crate::context::Context;
use crate::errand::Keep;
use crate::error::CommandError;
use crate::settings::{Effective, Flags, Metadata, Resolved, list, reach, resolve, variable};

/// Memory in MiB where cargo runs in the guest and nobody said how much: rustc and a linker at
/// work need more than a plain command.
const RAM_FOR_CARGO: u64 = 2048;

/// What is asked for, before anything is checked.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// Settings that win over all others.
    pub(crate) flags: Flags,
    pub(crate) name: Option<String>,
    /// Where its files are; where we were called, if nobody says otherwise.
    pub(crate) place: Option<Place>,
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
    pub(crate) place: Place,
    name: Option<VmName>,
    tree: Tree,
    rebuild: bool,
    may_be_kept: bool,
    program: Option<Utf8PathBuf>,
    toolchain: bool,
    builds: bool,
    expects_cargo: bool,
}

/// Settings, resolved from all their sources, for the workspace that we were called in.
pub(crate) fn resolved(
    context: &Context,
    flags: &Flags,
    workspace: Option<&Utf8Path>,
) -> Result<Vec<Resolved>, CommandError> {
    resolved_in(&Place::here(context), context, flags, workspace)
}

/// The same for a trusted place and the workspace that it is in.
fn resolved_in(
    place: &Place,
    context: &Context,
    flags: &Flags,
    workspace: Option<&Utf8Path>,
) -> Result<Vec<Resolved>, CommandError> {
    let mut metadata = Vec::new();
    if let Some(root) = workspace {
        let manifest = root.join("Cargo.toml");
        metadata.extend(Metadata::read(&manifest, "workspace")?);
        let nearest = place.directory.ancestors().map(|dir| dir.join("Cargo.toml"));
        if let Some(package) = nearest.into_iter().find(|manifest| manifest.exists()) {
            metadata.extend(Metadata::read(&package, "package")?);
        }
    }
    let variable = |name: &str| crate::env::read(name)?.into_string().ok();
    Ok(resolve(flags, variable, &metadata, &context.directory))
}

/// Settings for an untrusted place: the user's own only, and what is typed where they hand
/// something in or open something.
fn settings_of_the_user(context: &Context, flags: &Flags) -> Result<Vec<Resolved>, CommandError> {
    const TYPED: [&str; 2] = ["env", "net"];
    let handed_in = flags.get("env").map(|text| list::split(text)).unwrap_or_default();
    if let Some(name) = handed_in.iter().find(|word| !word.contains('=')) {
        let message =
            format!("env: `{name}` would hand a value of this host to an untrusted command");
        return Err(
            CommandError::usage(message).hint(format!("write it out: `--env {name}=VALUE`"))
        );
    }
    let not_used = TYPED.map(variable);
    let variable = |name: &str| {
        let used = !not_used.contains(&name);
        crate::env::read(name).filter(|_| used)?.into_string().ok()
    };
    Ok(resolve(flags, variable, &[], &context.directory))
}

impl Request {
    /// Checks flags, settings and files, and clears what dead runs left. Nothing boots before all
    /// of it is right.
    pub(crate) async fn check(context: &Context, wish: Wish) -> Result<Self, CommandError> {
        let Wish { flags, name, place, rebuild, may_be_kept, program, .. } = wish;
        let Wish { single_test, toolchain, builds, .. } = wish;
        let place = place.unwrap_or_else(|| Place::here(context));
        let began = std::time::Instant::now();
        context.events.send(Event::Started { stage: Stage::Check });
        let tree = Tree::find(&place, context).await?;
        let resolved = match place.trust {
            Trust::Untrusted => settings_of_the_user(context, &flags)?,
            Trust::Trusted => {
                let root = tree.workspace().map(|workspace| workspace.root.as_path());
                resolved_in(&place, context, &flags, root)?
            }
        };
        if let Some(reach) = reach::of_manifests(&resolved) {
            context.events.detail(reach);
        }
        let mut settings = Effective::check(&resolved)?;
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
        Ok(Self {
            settings,
            place,
            name,
            tree,
            rebuild,
            may_be_kept,
            program,
            toolchain,
            builds,
            expects_cargo: false,
        })
    }

    /// Gives the guest more memory where cargo runs in it and nobody said how much.
    pub(crate) fn expect_cargo(&mut self) {
        self.expects_cargo = true;
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
        self.settings.sync && !matches!(self.tree, Tree::Nothing)
    }

    /// Where commands start in the guest: in the place, if that is sent.
    pub(crate) fn directory(&self) -> Option<&Utf8Path> {
        self.syncs().then_some(self.place.directory.as_path())
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
        let programs = self.programs(&self.place.directory);
        let planned = async {
            let (boot, mut layers) =
                tokio::try_join!(self.boot_files(context), self.layers(context))?;
            layers.extend(contents::program_layer(context, &programs, boot.glibc()).await?);
            Ok::<_, CommandError>((boot, layers))
        };
        let planned = planned.await;
        context.events.send(Event::Finished { stage: Stage::Image, took: began.elapsed() });
        let (boot, layers) = planned?;
        let directory = self.directory().map(Utf8Path::to_owned);
        let directories = self.directories();
        let tree = if self.settings.sync { self.tree } else { Tree::Nothing };
        let workspace = contents::workspace_plan(tree, self.builds);
        Ok(Plan {
            name: self.name,
            firecracker: self.settings.firecracker,
            start: if self.settings.template { Start::Template } else { Start::Cold },
            spec: self.settings.spec,
            boot,
            layers,
            programs,
            directories,
            workspace,
            may_be_kept: self.may_be_kept,
            fetch: self.settings.fetch,
            directory,
        })
    }

    async fn boot_files(&self, context: &Context) -> Result<BootFiles, CommandError> {
        let Effective { rootfs, kernel, initrd, .. } = &self.settings;
        let all_own = rootfs.is_some() && kernel.is_some() && initrd.is_some();
        let image = if all_own {
            None
        } else {
            let root = self.tree.workspace().map(|workspace| workspace.root.as_path());
            Some(image(context, &self.settings, root, self.rebuild).await?)
        };
        Ok(BootFiles::custom(rootfs.clone(), kernel.clone(), initrd.clone(), image))
    }
}
