//! Which host trees a workspace needs in the guest, and what of each stays behind.

use camino::{Utf8Path, Utf8PathBuf};

use crate::workspace::Trust;

/// One host tree that is mirrored into the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The tree's absolute path on the host.
    pub host: Utf8PathBuf,
    /// Directories left out, absolute.
    pub excluded: Vec<Utf8PathBuf>,
    /// Files and directories taken along even where an ignore rule matches them, absolute. What
    /// is not there is passed over.
    pub forced: Vec<Utf8PathBuf>,
    /// Whether a wrong ignore file in it is an error, or passed over.
    pub trust: Trust,
}

impl Root {
    /// A root with nothing left out by name and nothing forced.
    #[must_use]
    pub fn new(host: impl Into<Utf8PathBuf>) -> Self {
        let (excluded, forced) = (Vec::new(), Vec::new());
        Self { host: host.into(), excluded, forced, trust: Trust::Trusted }
    }

    /// A root that somebody else wrote.
    #[must_use]
    pub fn untrusted(host: impl Into<Utf8PathBuf>) -> Self {
        Self { trust: Trust::Untrusted, ..Self::new(host) }
    }

    /// A root that takes along `files` and nothing else.
    #[must_use]
    pub fn only(host: impl Into<Utf8PathBuf>, files: Vec<Utf8PathBuf>) -> Self {
        let host = host.into();
        Self { excluded: vec![host.clone()], forced: files, ..Self::new(host) }
    }

    /// A short name for the tree, the same in every run: the start of its path's hash.
    #[must_use]
    pub fn key(&self) -> String {
        blake3::hash(self.host.as_str().as_bytes()).to_hex()[..16].to_owned()
    }
}

/// The trees that a workspace needs: its own and those of path dependencies outside it, each
/// top-most. The workspace's tree stands first.
///
/// Build directories are left out. The workspace's `Cargo.lock` and the path dependencies that lie
/// inside a tree are taken along even if ignored, because cargo cannot build without them.
#[must_use]
pub fn roots(
    workspace_root: &Utf8Path,
    path_dependencies: &[Utf8PathBuf],
    target_directories: &[Utf8PathBuf],
) -> Vec<Root> {
    let mut members: Vec<&Utf8Path> = vec![workspace_root];
    members.extend(path_dependencies.iter().map(Utf8PathBuf::as_path));
    members.sort_unstable();
    members.dedup();
    let within = |inner: &Utf8Path, outer: &Utf8Path| inner != outer && inner.starts_with(outer);

    let mut roots: Vec<Root> = members
        .iter()
        .filter(|member| !members.iter().any(|other| within(member, other)))
        .map(|top| Root {
            host: (*top).to_owned(),
            excluded: target_directories.iter().filter(|dir| within(dir, top)).cloned().collect(),
            forced: members
                .iter()
                .filter(|member| within(member, top))
                .map(|member| (*member).to_owned())
                .collect(),
            trust: Trust::Trusted,
        })
        .collect();
    roots.sort_by_key(|root| !workspace_root.starts_with(&root.host));
    if let Some(own) = roots.first_mut() {
        own.forced.push(workspace_root.join("Cargo.lock"));
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(list: &[&str]) -> Vec<Utf8PathBuf> {
        list.iter().map(|&path| path.into()).collect()
    }

    #[test]
    fn only_top_most_trees_are_roots_and_the_workspace_is_first() {
        let found = roots(
            "/w/app".into(),
            &paths(&["/w/app/crates/one", "/a/lib", "/w/app-extra", "/a/lib/sub", "/a/lib"]),
            &paths(&["/w/app/target", "/tmp/target", "/a/lib/target"]),
        );
        let hosts: Vec<_> = found.iter().map(|root| root.host.as_str()).collect();
        assert_eq!(hosts, ["/w/app", "/a/lib", "/w/app-extra"]);
        assert_eq!(found[0].excluded, paths(&["/w/app/target"]));
        assert_eq!(found[0].forced, paths(&["/w/app/crates/one", "/w/app/Cargo.lock"]));
        assert_eq!(found[1].excluded, paths(&["/a/lib/target"]));
        assert_eq!(found[1].forced, paths(&["/a/lib/sub"]));
        assert!(found[2].excluded.is_empty() && found[2].forced.is_empty());
    }

    #[test]
    fn a_workspace_inside_its_dependency_is_part_of_it() {
        let found = roots("/lib/fuzz".into(), &paths(&["/lib"]), &paths(&["/lib/fuzz/target"]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].host, "/lib");
        assert_eq!(found[0].forced, paths(&["/lib/fuzz", "/lib/fuzz/Cargo.lock"]));
    }

    #[test]
    fn a_key_depends_on_the_path_only() {
        let mut root = Root::new("/w/app");
        let key = root.key();
        root.excluded.push("/w/app/target".into());
        assert_eq!(root.key(), key);
        assert_ne!(Root::new("/w/app2").key(), key);
        assert_eq!(key.len(), 16);
    }
}
