//! A small cargo workspace to send.

use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

/// A package without dependencies, in a directory of its test's.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: Utf8PathBuf,
}

impl Workspace {
    /// Makes one at `dir`/`name`.
    pub(crate) fn new(dir: &Utf8Path, name: &str) -> Self {
        let this = Self { root: dir.join(name) };
        let manifest =
            format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n");
        this.write("Cargo.toml", manifest);
        this.write("src/lib.rs", "#[test]\nfn passes() {}\n");
        this
    }

    /// Its root.
    pub(crate) fn root(&self) -> &Utf8Path {
        &self.root
    }

    /// Writes a file, and the directories it is in.
    pub(crate) fn write(&self, path: impl AsRef<std::path::Path>, content: impl AsRef<[u8]>) {
        let path = self.root.as_std_path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Adds a line to its manifest's end.
    pub(crate) fn configure(&self, lines: &str) {
        let manifest = self.root.join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(manifest, format!("{text}\n{lines}\n")).unwrap();
    }

    /// Sets a file's permissions.
    pub(crate) fn chmod(&self, path: &str, mode: u32) {
        let permissions = std::fs::Permissions::from_mode(mode);
        fs::set_permissions(self.root.join(path), permissions).unwrap();
    }
}
