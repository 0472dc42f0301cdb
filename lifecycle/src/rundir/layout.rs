//! Every path on disk that is banger's own, in one place.

use camino::{Utf8Path, Utf8PathBuf};

/// The roots under which everything of banger's lives. See the README for what each holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    cache: Utf8PathBuf,
    state: Utf8PathBuf,
}

impl Layout {
    /// Takes the roots; creates nothing.
    #[must_use]
    pub fn new(cache: Utf8PathBuf, state: Utf8PathBuf) -> Self {
        Self { cache, state }
    }

    /// Both under one directory, as `BANGER_HOME` asks for.
    #[must_use]
    pub fn under(home: &Utf8Path) -> Self {
        Self::new(home.join("cache"), home.join("state"))
    }

    /// What can be deleted at any time and is made again at need.
    #[must_use]
    pub fn cache(&self) -> &Utf8Path {
        &self.cache
    }

    /// Images, one directory each, named by digest.
    #[must_use]
    pub fn images(&self) -> Utf8PathBuf {
        self.cache.join("images")
    }

    /// Layers, one directory each, named by content key.
    #[must_use]
    pub fn layers(&self) -> Utf8PathBuf {
        self.cache.join("layers")
    }

    /// Templates, one directory each, named by content key.
    #[must_use]
    pub fn templates(&self) -> Utf8PathBuf {
        self.cache.join("templates")
    }

    /// The empty disk that stands in for one that a VM was not given.
    #[must_use]
    pub fn blank_disk(&self) -> Utf8PathBuf {
        self.cache.join("blank-v1.qcow2")
    }

    /// Workspace disks, one directory each, named by workspace key.
    #[must_use]
    pub fn workspaces(&self) -> Utf8PathBuf {
        self.cache.join("workspaces")
    }

    /// The logs of image builds.
    #[must_use]
    pub fn logs(&self) -> Utf8PathBuf {
        self.cache.join("logs")
    }

    /// Run directories, one per VM, named by VM.
    #[must_use]
    pub fn runs(&self) -> Utf8PathBuf {
        self.state.join("runs")
    }

    /// Programs that `setup` installed.
    #[must_use]
    pub fn programs(&self) -> Utf8PathBuf {
        self.state.join("programs")
    }

    /// The user's SSH keys for guests.
    #[must_use]
    pub fn keys(&self) -> Utf8PathBuf {
        self.state.join("keys")
    }
}
