//! What a guest is given beside its image: toolchain, crates, the host's programs, the workspace.

use banger_lifecycle::error::Cause;
use banger_lifecycle::event::Stage;
use banger_lifecycle::layer::{
    Layer, LayerError, LayerStore, Programs, default_sysroot, find_sysroot,
};
use banger_lifecycle::machine::WorkspacePlan;
use banger_lifecycle::program::{Elf, GlibcVersion};
use banger_lifecycle::sync::{Root, roots};
use banger_lifecycle::workspace::{Trust, Workspace};
use camino::{Utf8Path, Utf8PathBuf};

use super::Request;
use super::place::Tree;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;

/// What is said where cargo may find crates missing.
const NO_CRATES: &str = "the crates of an untrusted Cargo.lock are not fetched; vendored ones work";

impl Request {
    /// The toolchain and the dependencies, where there is a workspace to use them.
    pub(super) async fn layers(&self, context: &Context) -> Result<Vec<Layer>, CommandError> {
        if !self.syncs() || !self.settings.toolchain || !self.toolchain {
            return Ok(Vec::new());
        }
        let store = LayerStore::new(&context.layout, context.events.clone());
        match &self.tree {
            Tree::Nothing => Ok(Vec::new()),
            Tree::Workspace(workspace) => layers_of(workspace, &store, context).await,
            Tree::Untrusted(directory) => {
                let has_lockfile = directory.join("Cargo.lock").symlink_metadata().is_ok();
                if self.expects_cargo && has_lockfile {
                    context.events.note(NO_CRATES);
                }
                default_toolchain(&store, context).await
            }
        }
    }

    /// What cargo has made on the host for the tests that it runs: `CARGO_TARGET_TMPDIR`.
    pub(super) fn directories(&self) -> Vec<Utf8PathBuf> {
        let workspace = self.tree.workspace().filter(|_| self.program.is_some());
        workspace.map(|workspace| workspace.target_directory.join("tmp")).into_iter().collect()
    }

    /// The executable that the guest is to run, and the other programs of its package that cargo
    /// has built beside it: tests start those by the path that they were compiled with.
    pub(super) fn programs(&self, package: &Utf8Path) -> Vec<Utf8PathBuf> {
        let Some(program) = &self.program else { return Vec::new() };
        let built = program.parent().and_then(|dir| dir.parent());
        let package = self.tree.workspace().and_then(|workspace| workspace.member_at(package));
        let names = package.map_or(&[][..], |member| &member.programs);
        let beside = names.iter().filter_map(|name| Some(built?.join(name)));
        let beside = beside.filter(|path| path != program && path.is_file());
        [program.clone()].into_iter().chain(beside).collect()
    }
}

/// The toolchain that a workspace is built with, and its crates.
async fn layers_of(
    workspace: &Workspace,
    store: &LayerStore,
    context: &Context,
) -> Result<Vec<Layer>, CommandError> {
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

/// The user's own toolchain, where there is one.
async fn default_toolchain(
    store: &LayerStore,
    context: &Context,
) -> Result<Vec<Layer>, CommandError> {
    match default_sysroot(context.chosen_toolchain.as_deref()).await {
        Err(LayerError::Rustc(error)) if error.missing_program().is_some() => {
            context.events.detail("this host has no rustc: nor has the guest");
            Ok(Vec::new())
        }
        sysroot => {
            let toolchain = store.toolchain(&sysroot.map_err(failed)?).await.map_err(failed)?;
            Ok(toolchain.into_iter().collect())
        }
    }
}

/// Refuses what is no program for this kind of machine.
pub(super) fn check_program(path: &Utf8Path) -> Result<(), CommandError> {
    let program = Elf::read(path).map(drop);
    program.map_err(|error| CommandError::usage_of(&error, error.hint()))
}

/// Packs the host's programs, where there are any.
pub(super) async fn program_layer(
    context: &Context,
    paths: &[Utf8PathBuf],
    guest: Option<GlibcVersion>,
) -> Result<Option<Layer>, CommandError> {
    if paths.is_empty() {
        return Ok(None);
    }
    let library_path = context.library_path.clone();
    let programs = Programs { paths: paths.to_owned(), guest, library_path };
    let store = LayerStore::new(&context.layout, context.events.clone());
    store.programs(&programs).await.map(Some).map_err(failed)
}

fn failed(error: LayerError) -> CommandError {
    Cause::from(error).during(Stage::Image).into()
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

/// What goes into the guest, and whether what is built there is kept.
pub(super) fn workspace_plan(tree: Tree, builds: bool) -> Option<WorkspacePlan> {
    match tree {
        Tree::Nothing => None,
        Tree::Workspace(workspace) => Some(trusted_plan(*workspace, builds)),
        Tree::Untrusted(root) => {
            let roots = vec![Root::untrusted(&root)];
            Some(WorkspacePlan { root, trust: Trust::Untrusted, roots, target: None })
        }
    }
}

fn trusted_plan(workspace: Workspace, builds: bool) -> WorkspacePlan {
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
    let target = builds.then_some(workspace.target_directory);
    WorkspacePlan { root: workspace.root, trust: Trust::Trusted, roots, target }
}
