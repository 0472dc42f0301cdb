//! The programs layer: executables that were built on the host, for guests that run them there.
//!
//! Which ones and where they appear is the caller's to say; they stand in the layer by number, and
//! the machine shows each at its own path.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use crate::layer::erofs::Packing;
use crate::layer::error::LayerError;
use crate::layer::record::{FORMAT, LayerId, LayerKind};
use crate::layer::store::{Layer, LayerStore, Recipe};
use crate::rundir::KeyHasher;

/// Where the guest mounts the programs layer.
const MOUNT: &str = "/opt/banger/programs";

/// How much disk layers of programs may take up, in bytes: each build of a test makes a new one.
const BUDGET: u64 = 2 << 30;

/// Where the guest has the program with that number in its list.
pub(crate) fn place(number: usize) -> String {
    format!("{MOUNT}/{number}")
}

impl LayerStore {
    /// Finds or makes the layer of these executables, in this order.
    ///
    /// They are told apart by path, size and times, so that finding one costs no reading. Making
    /// one removes those used longest ago, where all together take up more than 2 GiB.
    ///
    /// # Errors
    /// Where a program cannot be read or packed, or the store not written.
    pub async fn programs(&self, paths: &[Utf8PathBuf]) -> Result<Layer, LayerError> {
        let recipe = ProgramsRecipe { store: self, paths, id: id(paths)? };
        self.obtain(&recipe).await
    }
}

fn id(paths: &[Utf8PathBuf]) -> Result<LayerId, LayerError> {
    let mut hasher = KeyHasher::default();
    hasher.field("format", FORMAT.to_string());
    for path in paths {
        hasher
            .file("program", path)
            .map_err(|source| LayerError::Program { path: path.clone(), source })?;
    }
    Ok(LayerId { kind: LayerKind::Programs, key: hasher.key() })
}

struct ProgramsRecipe<'a> {
    store: &'a LayerStore,
    paths: &'a [Utf8PathBuf],
    id: LayerId,
}

impl Recipe for ProgramsRecipe<'_> {
    fn id(&self) -> &LayerId {
        &self.id
    }

    fn mount_point(&self) -> &Utf8Path {
        MOUNT.into()
    }

    fn what(&self) -> String {
        let names = self.paths.iter().filter_map(|path| path.file_name());
        names.collect::<Vec<_>>().join(", ")
    }

    async fn build(&self, scratch: &Utf8Path, image: &Utf8Path) -> Result<(), LayerError> {
        let tree = scratch.join("tree");
        fs::create_dir(&tree).map_err(self.store.failed())?;
        for (number, path) in self.paths.iter().enumerate() {
            let failed = |source| LayerError::Program { path: path.clone(), source };
            take(path, &tree.join(number.to_string())).map_err(failed)?;
        }
        let what = "packing the programs (first use)";
        let packing = Packing { tree: &tree, leave_out: &[], image, what, expected: None };
        let packed = packing.run(&self.store.events).await;
        packed.map_err(|source| LayerError::Pack { kind: LayerKind::Programs, source })?;
        self.store.trim(LayerKind::Programs, BUDGET)
    }
}

/// A second name for a file where that can be, or else a copy: a rebuild makes a new file.
fn take(path: &Utf8Path, to: &Utf8Path) -> std::io::Result<()> {
    let path = path.canonicalize_utf8()?;
    fs::hard_link(&path, to).or_else(|_| fs::copy(&path, to).map(drop))
}

#[cfg(test)]
mod tests {
    use banger_protocol::event::Events;

    use super::*;
    use crate::rundir::Layout;

    #[tokio::test]
    async fn a_program_that_was_built_anew_makes_another_layer() {
        if crate::process::find_program("mkfs.erofs", None).is_none() {
            return eprintln!("left out: no mkfs.erofs");
        }
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let store = LayerStore::new(&Layout::under(&dir.join("home")), Events::silent());
        let program = dir.join("program");
        fs::write(&program, "one").unwrap();
        let paths = [program.clone()];
        let first = store.programs(&paths).await.unwrap().id().clone();
        assert_eq!(store.programs(&paths).await.unwrap().id(), &first);
        fs::write(&program, "longer").unwrap();
        assert_ne!(store.programs(&paths).await.unwrap().id(), &first);
        assert_eq!(store.list().unwrap().len(), 2);
        store.trim(LayerKind::Programs, 0).unwrap();
        assert!(store.list().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let store = LayerStore::new(&Layout::under(dir), Events::silent());
        let error = store.programs(&["/no/such".into()]).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot read the program `/no/such`");
    }
}
