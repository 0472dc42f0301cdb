//! What a workspace's builds need from outside of its root: path dependencies and patches.
//!
//! Declared dependencies are followed from manifest to manifest, and not cargo's resolution,
//! which leaves out optional ones that no default feature turns on: a guest's cargo wants the
//! manifests of those as well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use cargo_metadata::{DependencyKind, Metadata, Package};
use toml::{Table, Value};

use crate::input_file::{self, MANIFEST_LIMIT};
use crate::workspace::error::WorkspaceError;
use crate::workspace::load::{metadata_of, package_dir};

/// What has to be there beside a workspace's root for its members to build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// The directories of packages, whole, sorted; none lies in another or in the root.
    pub dirs: Vec<Utf8PathBuf>,
    /// Single files, sorted: the root manifests of workspaces that those packages belong to and
    /// may inherit from. Their other members are not needed.
    pub manifests: Vec<Utf8PathBuf>,
}

/// Follows all path dependencies of the workspace's members.
pub(super) async fn find(
    cargo: &Utf8Path,
    workspace: &Metadata,
) -> Result<Outside, WorkspaceError> {
    let root = &workspace.workspace_root;
    let mut known = Known::default();
    known.learn(workspace);
    let members = workspace.packages.iter().map(|package| package_dir(package).to_owned());
    let mut pending: VecDeque<Utf8PathBuf> = members.collect();
    let patches = patches(root)?;
    let mut seen: BTreeSet<Utf8PathBuf> = pending.iter().cloned().collect();
    pending.extend(patches.into_iter().filter(|dir| seen.insert(dir.clone())));
    let mut found: BTreeSet<Utf8PathBuf> = BTreeSet::new();
    let mut manifests = BTreeSet::new();
    while let Some(dir) = pending.pop_front() {
        let Some(package) = known.package(cargo, &dir).await? else {
            continue;
        };
        if !dir.starts_with(root) {
            manifests.insert(package.workspace_manifest.clone());
            found.insert(dir.clone());
        }
        let is_member = package.workspace_manifest == root.join("Cargo.toml");
        for path in needed(&package.package, is_member) {
            if seen.insert(path.clone()) {
                pending.push_back(path);
            }
        }
    }
    let dirs = outermost(found);
    let covered = |file: &Utf8Path| dirs.iter().any(|dir| file.starts_with(dir));
    manifests.retain(|manifest| !covered(manifest) && !manifest.starts_with(root));
    Ok(Outside { dirs, manifests: manifests.into_iter().collect() })
}

/// The path dependencies that cargo reads the manifests of. The tests of what is not a member
/// are never built.
fn needed(package: &Package, is_member: bool) -> impl Iterator<Item = Utf8PathBuf> {
    let wanted = package
        .dependencies
        .iter()
        .filter(move |dependency| is_member || dependency.kind != DependencyKind::Development);
    wanted.filter_map(|dependency| dependency.path.as_deref()).map(normalized)
}

/// The packages whose manifests cargo has read for us, by directory.
#[derive(Default)]
struct Known(BTreeMap<Utf8PathBuf, KnownPackage>);

#[derive(Clone)]
struct KnownPackage {
    package: Package,
    workspace_manifest: Utf8PathBuf,
}

impl Known {
    fn learn(&mut self, metadata: &Metadata) {
        let workspace_manifest = metadata.workspace_root.join("Cargo.toml");
        for package in &metadata.packages {
            let known = KnownPackage {
                package: package.clone(),
                workspace_manifest: workspace_manifest.clone(),
            };
            self.0.insert(package_dir(package).to_owned(), known);
        }
    }

    /// Asks cargo, where it has not told yet. One answer covers a whole workspace.
    async fn package(
        &mut self,
        cargo: &Utf8Path,
        dir: &Utf8Path,
    ) -> Result<Option<KnownPackage>, WorkspaceError> {
        if let Some(known) = self.0.get(dir) {
            return Ok(Some(known.clone()));
        }
        let manifest = dir.join("Cargo.toml");
        match input_file::check(manifest.as_std_path(), MANIFEST_LIMIT) {
            Ok(()) => {}
            Err(error) if is_missing(&error) => {
                // Cargo complains of it when it builds, and in better words.
                tracing::debug!(%dir, "a path dependency has no manifest");
                return Ok(None);
            }
            Err(error) => return Err(WorkspaceError::Read(error)),
        }
        self.learn(&metadata_of(cargo, &manifest).await?);
        Ok(self.0.get(dir).cloned())
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The paths that the root manifest and the workspace's cargo configuration put in the place of
/// other packages. Cargo reads their manifests even where no package uses them.
fn patches(root: &Utf8Path) -> Result<Vec<Utf8PathBuf>, WorkspaceError> {
    let mut paths = Vec::new();
    for name in ["Cargo.toml", ".cargo/config", ".cargo/config.toml"] {
        let file = root.join(name);
        let text = match input_file::read_text(&file, MANIFEST_LIMIT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.map_err(WorkspaceError::Read)?,
        };
        let table: Table =
            toml::from_str(&text).map_err(|source| WorkspaceError::Parse { path: file, source })?;
        let tables = |value: Option<&Value>| value.and_then(Value::as_table).cloned();
        let patched = tables(table.get("patch")).unwrap_or_default();
        let patched = patched.into_iter().filter_map(|(_, source)| tables(Some(&source)));
        let replaced = patched.chain(tables(table.get("replace"))).flatten();
        paths.extend(
            replaced.filter_map(|(_, entry)| Some(entry.get("path")?.as_str()?.to_owned())),
        );
        let overrides = table.get("paths").and_then(Value::as_array).into_iter().flatten();
        paths.extend(overrides.filter_map(|path| path.as_str().map(str::to_owned)));
    }
    Ok(paths.into_iter().map(|path| normalized(&root.join(path))).collect())
}

/// Drops the directories that lie in another one of them. Wants them sorted.
fn outermost(dirs: BTreeSet<Utf8PathBuf>) -> Vec<Utf8PathBuf> {
    let mut kept: Vec<Utf8PathBuf> = Vec::new();
    for dir in dirs {
        if !kept.iter().any(|outer| dir.starts_with(outer)) {
            kept.push(dir);
        }
    }
    kept
}

/// Takes `.` and `..` out of a path as cargo does: by its text, symbolic links untouched.
fn normalized(path: &Utf8Path) -> Utf8PathBuf {
    let mut clean = Utf8PathBuf::new();
    for component in path.components() {
        match component {
            Utf8Component::CurDir => {}
            Utf8Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_directories_are_dropped() {
        let dirs = ["/a/b", "/a", "/ab", "/c/d"].map(Utf8PathBuf::from);
        assert_eq!(outermost(dirs.into()), ["/a", "/ab", "/c/d"]);
    }

    #[test]
    fn paths_lose_their_dots() {
        assert_eq!(normalized("/a/./b/../../c".into()), "/c");
    }
}
