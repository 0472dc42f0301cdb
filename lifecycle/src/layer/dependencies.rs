//! The dependency layer: the vendored crates of one `Cargo.lock`, and the configuration that makes
//! a guest's cargo use them without a network.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use tokio::process::Command;

use crate::layer::erofs::Packing;
use crate::layer::error::LayerError;
use crate::layer::lockfile::{self, LockedPackage};
use crate::layer::progress::Progress;
use crate::layer::record::{FORMAT, LayerId, LayerKind};
use crate::layer::source_config::{self, WorkspaceSources};
use crate::layer::store::{Layer, LayerStore, Recipe};
use crate::process::{ToolError, run_tool};

/// Where the guest mounts the dependency layer.
pub const VENDOR_MOUNT: &str = "/opt/banger/vendor";

/// The file in the layer that belongs into the guest's `CARGO_HOME`, as `config.toml`.
pub const CARGO_CONFIG: &str = "config.toml";

impl LayerStore {
    /// Finds or makes the layer of the crates that `lockfile` names. Workspaces whose lock files
    /// name the same set share one.
    ///
    /// `manifest_path` is the workspace root's; `lockfile` has to be up to date with it (see
    /// [`Workspace::update_lockfile`]), and neither is changed. Crates come out of the host's
    /// registry cache, or from the network, under the user's own cargo configuration: mirrors and
    /// credentials work. Returns `None` where there is nothing to vendor, or where the workspace
    /// has its own vendored crates checked in and says so in its `.cargo/config.toml`.
    ///
    /// # Errors
    /// Where the lock file cannot be read, cargo cannot get at a crate, or the store not be
    /// written.
    ///
    /// [`Workspace::update_lockfile`]: crate::workspace::Workspace::update_lockfile
    pub async fn dependencies(
        &self,
        cargo: &Utf8Path,
        manifest_path: &Utf8Path,
        lockfile: &Utf8Path,
    ) -> Result<Option<Layer>, LayerError> {
        let packages = lockfile::read(lockfile)?;
        if packages.is_empty() {
            return Ok(None);
        }
        let root = manifest_path.parent().unwrap_or(Utf8Path::new("."));
        let sources = WorkspaceSources::read(root)?;
        if sources.is_vendored(root) {
            self.events.detail("the workspace vendors its own crates: no dependency layer");
            return Ok(None);
        }
        let id = layer_id(&packages, &sources);
        let store = self;
        let recipe = DependencyRecipe { store, cargo, manifest_path, root, packages, sources, id };
        self.obtain(&recipe).await.map(Some)
    }
}

/// Covers all that the layer's content depends on.
fn layer_id(packages: &[LockedPackage], sources: &WorkspaceSources) -> LayerId {
    let mut hasher = blake3::Hasher::new();
    let mut field = |text: &str| {
        hasher.update(&text.len().to_le_bytes()).update(text.as_bytes());
    };
    field(&FORMAT.to_string());
    field(&sources.fingerprint());
    for package in packages {
        field(&package.name);
        field(&package.version);
        field(&package.source);
        field(package.checksum.as_deref().unwrap_or_default());
    }
    LayerId::new(LayerKind::Dependencies, &hasher.finalize())
}

struct DependencyRecipe<'a> {
    store: &'a LayerStore,
    cargo: &'a Utf8Path,
    manifest_path: &'a Utf8Path,
    root: &'a Utf8Path,
    packages: Vec<LockedPackage>,
    sources: WorkspaceSources,
    id: LayerId,
}

impl Recipe for DependencyRecipe<'_> {
    fn id(&self) -> &LayerId {
        &self.id
    }

    fn mount_point(&self) -> &Utf8Path {
        VENDOR_MOUNT.into()
    }

    fn what(&self) -> String {
        counted(self.packages.len())
    }

    async fn build(&self, scratch: &Utf8Path, image: &Utf8Path) -> Result<(), LayerError> {
        let vendored = scratch.join("vendor");
        let printed = self.vendor(&vendored).await?;
        let config =
            source_config::for_guest(&printed, &vendored, self.mount_point(), &self.sources)?;
        fs::write(vendored.join(CARGO_CONFIG), config).map_err(self.store.failed())?;
        self.name_by_commit(&vendored)?;
        let packing = Packing {
            tree: &vendored,
            leave_out: &[],
            image,
            what: "packing the vendored crates",
            expected: None,
        };
        let packed = packing.run(&self.store.events).await;
        packed.map_err(|source| LayerError::Pack { kind: LayerKind::Dependencies, source })
    }
}

impl DependencyRecipe<'_> {
    /// Runs `cargo vendor` into `vendored`, and returns the configuration that it prints.
    ///
    /// Not `--quiet`, which would drop the configuration too; `--respect-source-config`, because
    /// users behind a mirror reach nothing else.
    async fn vendor(&self, vendored: &Utf8Path) -> Result<String, LayerError> {
        let count = self.packages.len();
        let what = format!("vendoring {} (first use of this Cargo.lock)", counted(count));
        let mut command = Command::new(self.cargo);
        command.args(["vendor", "--versioned-dirs", "--locked", "--respect-source-config"]);
        command.arg("--manifest-path").arg(self.manifest_path).arg(vendored);
        command.current_dir(self.root).env("CARGO_TERM_COLOR", "never");
        let events = &self.store.events;
        let progress = Progress { events, what: &what, total: u64::try_from(count).ok() };
        let done = || fs::read_dir(vendored).map_or(0, |dirs| dirs.map(|_| 1).sum());
        let output = progress.watch(run_tool(&mut command), done).await;
        match output {
            Ok(printed) => Ok(String::from_utf8_lossy(&printed).into_owned()),
            Err(ToolError::Failed { stderr, .. }) => Err(LayerError::Vendor { text: stderr }),
            Err(error @ ToolError::Start { .. }) => Err(LayerError::Cargo(error)),
        }
    }

    /// Puts the commit into the directory names of crates from git repositories.
    ///
    /// Cargo takes a vendored crate for unchanged while its name, version and path are: without
    /// this, a guest with a warm `target/` would go on with the old commit's code.
    fn name_by_commit(&self, vendored: &Utf8Path) -> Result<(), LayerError> {
        for package in &self.packages {
            let Some(commit) = package.commit() else {
                continue;
            };
            let dir = vendored.join(format!("{}-{}", package.name, package.version));
            if dir.is_dir() {
                let named = Utf8PathBuf::from(format!("{dir}-{commit}"));
                fs::rename(&dir, named).map_err(self.store.failed())?;
            }
        }
        Ok(())
    }
}

fn counted(crates: usize) -> String {
    if crates == 1 { "1 crate".to_owned() } else { format!("{crates} crates") }
}

#[cfg(test)]
mod tests;
