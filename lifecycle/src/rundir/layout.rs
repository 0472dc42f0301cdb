//! Every path on disk that is banger's own, in one place.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::private::{self, HomeError, Owner};

/// The roots under which everything of banger's lives. See the README for what each holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    cache: Utf8PathBuf,
    state: Utf8PathBuf,
    boot: BootId,
}

/// Which boot of the host this is: what was written before another one may not have reached the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootId(String);

impl BootId {
    /// Takes what the host calls it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The boot that this process runs in; one that is always the same where the kernel does not tell.
    #[must_use]
    pub fn current() -> Self {
        Self::new(&fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default())
    }

    /// What the host calls it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Layout {
    /// Takes the roots; creates nothing.
    #[must_use]
    pub fn new(cache: Utf8PathBuf, state: Utf8PathBuf) -> Self {
        Self { cache, state, boot: BootId::default() }
    }

    /// The same in a boot of the host: what was stored in another one is checked before it is used.
    #[must_use]
    pub fn booted(self, boot: BootId) -> Self {
        Self { boot, ..self }
    }

    /// Makes both roots where they are missing, for their owner alone, and checks them as
    /// [`Layout::check`] does.
    ///
    /// # Errors
    /// As [`Layout::check`], or where one cannot be made.
    pub fn prepare(&self) -> Result<(), HomeError> {
        // Before, so that nothing is made where others could exchange it.
        self.check()?;
        for root in [&self.cache, &self.state] {
            let failed = |source| HomeError::Io { path: root.clone(), source };
            private::create_dir_all(root).map_err(failed)?;
        }
        self.check()
    }

    /// Checks that all directories of banger's that are there are this user's, and that nobody else
    /// can replace them or write to them. Those that others can read are closed to them.
    ///
    /// # Errors
    /// Where one is somebody else's or others can write to it or to one above it, by name.
    pub fn check(&self) -> Result<(), HomeError> {
        let owner = Owner::current()?;
        let roots = [self.cache.clone(), self.state.clone()];
        let below = [self.images(), self.layers(), self.templates(), self.workspaces()];
        let more = [self.logs(), self.runs(), self.programs(), self.keys()];
        let mut all = roots.iter().chain(&below).chain(&more);
        all.try_for_each(|directory| owner.secure(directory))
    }

    /// Which boot of the host this is.
    pub(crate) fn boot(&self) -> &BootId {
        &self.boot
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

    /// The empty disk of a size in bytes that stands in for one that a VM was not given.
    #[must_use]
    pub fn blank_disk(&self, size: u64) -> Utf8PathBuf {
        self.cache.join(format!("blank-v1-{}.qcow2", size >> 20))
    }

    /// The empty top of a size in bytes over a disk that is yet to be named.
    #[must_use]
    pub fn blank_top(&self, size: u64) -> Utf8PathBuf {
        self.cache.join(format!("blank-top-v1-{}.qcow2", size >> 20))
    }

    /// Workspace disks, one directory each, named by workspace key.
    #[must_use]
    pub fn workspaces(&self) -> Utf8PathBuf {
        self.cache.join("workspaces")
    }

    /// What was found out once and holds until something changes, one small file each.
    #[must_use]
    pub fn notes(&self) -> Utf8PathBuf {
        self.cache.join("notes")
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn all_of_it_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap().join("home");
        let layout = Layout::under(&home);
        layout.check().unwrap();
        assert!(!home.exists());
        layout.prepare().unwrap();
        let mode = |path: &Utf8Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let of_before = [layout.images(), layout.runs(), layout.state.clone()];
        for path in &of_before {
            fs::create_dir_all(path).unwrap();
            fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        layout.prepare().unwrap();
        for path in of_before.iter().chain([&home, &layout.cache]) {
            assert_eq!(mode(path), 0o700, "{path}");
        }
        fs::set_permissions(&home, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = layout.prepare().unwrap_err().to_string();
        assert!(error.contains(home.as_str()), "{error}");
    }
}
