//! Finding a workspace and asking cargo about it.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use cargo_metadata::{Metadata, MetadataCommand, Package};
use serde_json::Value;
use tokio::process::Command;

use crate::input_file::{self, LOCKFILE_LIMIT, MANIFEST_LIMIT};
use crate::process::{ToolError, run_tool};
use crate::workspace::error::WorkspaceError;
use crate::workspace::outside::{self, Outside};

/// A cargo workspace; a package that stands alone is one, too. Plain data.
#[derive(Clone, Debug, PartialEq)]
pub struct Workspace {
    /// The directory of the root manifest.
    pub root: Utf8PathBuf,
    /// Where cargo puts what it builds.
    pub target_directory: Utf8PathBuf,
    /// The packages that belong to it, in cargo's order.
    pub members: Vec<Member>,
    /// What builds need from outside of the root.
    pub outside: Outside,
    /// `[workspace.metadata.banger]`; null where there is none.
    pub metadata_table: Value,
}

/// A package of a workspace.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The package's name.
    pub name: String,
    /// The directory of its manifest, mostly but not always below the workspace's root.
    pub dir: Utf8PathBuf,
    /// The names of the programs that it builds.
    pub programs: Vec<String>,
    /// `[package.metadata.banger]`; null where there is none.
    pub metadata_table: Value,
}

impl Workspace {
    /// Finds the root of the workspace that `cwd` lies in, or `None` where no directory above it
    /// has a manifest.
    ///
    /// # Errors
    /// Where cargo cannot be run, or does not accept a manifest it reads on the way.
    pub async fn locate(
        cwd: &Utf8Path,
        cargo: &Utf8Path,
    ) -> Result<Option<Utf8PathBuf>, WorkspaceError> {
        let Some(nearest) = nearest_manifest(cwd)? else {
            return Ok(None);
        };
        let args = ["locate-project", "--workspace", "--message-format", "plain"];
        let output = run_cargo(cargo, &args, &nearest).await?;
        let manifest = Utf8PathBuf::from(String::from_utf8_lossy(&output).trim());
        Ok(manifest.parent().map(Utf8Path::to_owned))
    }

    /// Loads the workspace that `cwd` lies in, or `None` where no directory above it has a
    /// manifest. Resolves no dependencies: needs no network and no `Cargo.lock`.
    ///
    /// # Errors
    /// Where cargo cannot be run, or does not accept the manifest of a member or of a path
    /// dependency.
    pub async fn load(cwd: &Utf8Path, cargo: &Utf8Path) -> Result<Option<Self>, WorkspaceError> {
        let Some(nearest) = nearest_manifest(cwd)? else {
            return Ok(None);
        };
        let metadata = metadata_of(cargo, &nearest).await?;
        let outside = outside::find(cargo, &metadata).await?;
        let members = metadata.packages.iter().map(Member::from).collect();
        Ok(Some(Self {
            members,
            outside,
            metadata_table: metadata.workspace_metadata["banger"].clone(),
            root: metadata.workspace_root,
            target_directory: metadata.target_directory,
        }))
    }

    /// The root manifest.
    #[must_use]
    pub fn manifest(&self) -> Utf8PathBuf {
        self.root.join("Cargo.toml")
    }

    /// The lock file, which need not exist.
    #[must_use]
    pub fn lockfile(&self) -> Utf8PathBuf {
        self.root.join("Cargo.lock")
    }

    /// The member that `cwd` lies in, the innermost where they are nested.
    #[must_use]
    pub fn member_at(&self, cwd: &Utf8Path) -> Option<&Member> {
        let around = self.members.iter().filter(|member| cwd.starts_with(&member.dir));
        around.max_by_key(|member| member.dir.as_str().len())
    }

    /// Makes or updates `Cargo.lock` as any build would, so that it fits the manifests.
    ///
    /// A guest cannot do that itself, for lack of a network. Where the lock file is up to date
    /// this changes nothing and needs no network, but crates that are not in cargo's cache yet
    /// are downloaded.
    ///
    /// # Errors
    /// Where cargo cannot be run, or cannot resolve or download the dependencies.
    pub async fn update_lockfile(&self, cargo: &Utf8Path) -> Result<(), WorkspaceError> {
        match input_file::check(self.lockfile().as_std_path(), LOCKFILE_LIMIT) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(WorkspaceError::Read(error));
            }
            _ => {}
        }
        // `cargo metadata` keeps every version that still fits; `generate-lockfile` would not.
        let args = ["metadata", "--format-version=1"];
        run_cargo(cargo, &args, &self.manifest()).await.map(|_| ())
    }
}

impl From<&Package> for Member {
    fn from(package: &Package) -> Self {
        Self {
            name: package.name.to_string(),
            dir: package_dir(package).to_owned(),
            programs: package
                .targets
                .iter()
                .filter(|t| t.is_bin())
                .map(|t| t.name.clone())
                .collect(),
            metadata_table: package.metadata["banger"].clone(),
        }
    }
}

/// The directory of a package's manifest.
pub(super) fn package_dir(package: &Package) -> &Utf8Path {
    package.manifest_path.parent().unwrap_or(&package.manifest_path)
}

/// What cargo says of the workspace of a manifest: its members, and nothing of what they use.
pub(super) async fn metadata_of(
    cargo: &Utf8Path,
    manifest: &Utf8Path,
) -> Result<Metadata, WorkspaceError> {
    let args = ["metadata", "--format-version=1", "--no-deps"];
    let output = run_cargo(cargo, &args, manifest).await?;
    MetadataCommand::parse(String::from_utf8_lossy(&output))
        .map_err(|source| WorkspaceError::Metadata { manifest: manifest.to_owned(), source })
}

/// Runs cargo in the directory of `manifest`, so that it reads the configuration meant for it.
async fn run_cargo(
    cargo: &Utf8Path,
    args: &[&str],
    manifest: &Utf8Path,
) -> Result<Vec<u8>, WorkspaceError> {
    let dir = manifest.parent().unwrap_or(Utf8Path::new("/"));
    let mut command = Command::new(cargo);
    command.args(args).arg("--manifest-path").arg(manifest).current_dir(dir);
    command.env("CARGO_TERM_COLOR", "never");
    run_tool(&mut command).await.map_err(|error| match error {
        ToolError::Failed { stderr: text, .. } => {
            WorkspaceError::Refused { manifest: manifest.to_owned(), text }
        }
        ToolError::Start { .. } => WorkspaceError::Start(error),
    })
}

/// The manifest that cargo would take for a command in `cwd`. One that cargo would wait for, or not
/// come to the end of, is an error.
fn nearest_manifest(cwd: &Utf8Path) -> Result<Option<Utf8PathBuf>, WorkspaceError> {
    for manifest in cwd.ancestors().map(|dir| dir.join("Cargo.toml")) {
        match input_file::check(manifest.as_std_path(), MANIFEST_LIMIT) {
            Ok(()) => return Ok(Some(manifest)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(WorkspaceError::Read(error)),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
