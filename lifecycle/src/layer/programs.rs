//! The programs layer: executables that were built on the host, for guests that run them there, and
//! the libraries that such a guest lacks.
//!
//! ```text
//! /opt/banger/programs/0, 1, …    the programs, in the order in which they were asked for
//!                     /lib/       the loader and libraries of those that do not run as they are
//! ```
//!
//! Which ones and where they appear is the caller's to say; the machine shows each at its own path.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use crate::layer::erofs::Packing;
use crate::layer::error::LayerError;
use crate::layer::record::{FORMAT, LayerId, LayerKind};
use crate::layer::store::{Layer, LayerStore, Recipe};
use crate::program::{Elf, GlibcVersion, ProgramError, adapt, closure};
use crate::rundir::KeyHasher;

/// Where the guest mounts the programs layer.
const MOUNT: &str = "/opt/banger/programs";

/// Where in the layer the libraries are.
const LIBRARIES: &str = "lib";

/// How much disk layers of programs may take up, in bytes: each build of a test makes a new one.
const BUDGET: u64 = 2 << 30;

/// Where the guest has the program with that number in its list.
pub(crate) fn place(number: usize) -> String {
    format!("{MOUNT}/{number}")
}

/// Executables of the host for one kind of guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// Where they are, and appear.
    pub paths: Vec<Utf8PathBuf>,
    /// The guest's glibc, where that is known.
    pub guest: Option<GlibcVersion>,
    /// The directories of the host's `LD_LIBRARY_PATH`.
    pub library_path: Vec<Utf8PathBuf>,
}

impl LayerStore {
    /// Finds or makes the layer of these executables.
    ///
    /// They are told apart by path, size and times, so that finding one costs no reading. Making
    /// one removes those used longest ago, where all together take up more than 2 GiB.
    ///
    /// # Errors
    /// Where a program cannot be read, is for another architecture, needs a library that is not on
    /// this host, or cannot be packed; where the store cannot be written.
    pub async fn programs(&self, programs: &Programs) -> Result<Layer, LayerError> {
        let plan = programs.plan()?;
        let adapted = plan.iter().any(|(_, how)| *how == How::Adapted);
        let id = programs.id(adapted)?;
        self.obtain(&ProgramsRecipe { store: self, programs, plan, id }).await
    }
}

/// How a program gets into the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    AsItIs,
    /// With libraries of its own.
    Adapted,
}

impl Programs {
    fn plan(&self) -> Result<Vec<(&Utf8Path, How)>, ProgramError> {
        let paths = self.paths.iter().map(Utf8PathBuf::as_path);
        let plan = paths.map(|path| {
            let as_it_is = Elf::read(path)?.runs_with(self.guest);
            Ok((path, if as_it_is { How::AsItIs } else { How::Adapted }))
        });
        plan.collect()
    }

    /// Every file of this host that the layer is made of: the programs, and what comes along.
    pub(crate) fn files(&self) -> Result<Vec<Utf8PathBuf>, ProgramError> {
        let mut files = self.paths.clone();
        for (path, how) in self.plan()? {
            if how == How::Adapted {
                let closure = closure(path, &self.library_path)?;
                files.push(closure.interpreter);
                files.extend(closure.libraries.into_iter().map(|library| library.path));
            }
        }
        Ok(files)
    }

    fn id(&self, adapted: bool) -> Result<LayerId, ProgramError> {
        let mut hasher = KeyHasher::default();
        hasher.field("format", FORMAT.to_string());
        for path in &self.paths {
            let unreadable = |source| ProgramError::Unreadable { path: path.clone(), source };
            hasher.file("program", path).map_err(unreadable)?;
        }
        if adapted {
            let guest = self.guest.map(|glibc| glibc.to_string()).unwrap_or_default();
            hasher.field("guest", guest);
            for directory in &self.library_path {
                hasher.field("library path", directory.as_str());
            }
        }
        Ok(LayerId { kind: LayerKind::Programs, key: hasher.key() })
    }
}

struct ProgramsRecipe<'a> {
    store: &'a LayerStore,
    programs: &'a Programs,
    plan: Vec<(&'a Utf8Path, How)>,
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
        let names = self.programs.paths.iter().filter_map(|path| path.file_name());
        names.collect::<Vec<_>>().join(", ")
    }

    async fn build(&self, scratch: &Utf8Path, image: &Utf8Path) -> Result<(), LayerError> {
        let tree = scratch.join("tree");
        let libraries = tree.join(LIBRARIES);
        fs::create_dir_all(&libraries).map_err(self.store.failed())?;
        for (number, (path, how)) in self.plan.iter().enumerate() {
            let to = tree.join(number.to_string());
            match how {
                How::AsItIs => take(path, &to)?,
                How::Adapted => {
                    closure(path, &self.programs.library_path)?.copy_to(&libraries)?;
                    adapt(path, &to, &format!("{MOUNT}/{LIBRARIES}"))?;
                }
            }
        }
        let what = "packing the programs (first use)";
        let packing = Packing { tree: &tree, leave_out: &[], image, what, expected: None };
        let packed = packing.run(&self.store.events).await;
        packed.map_err(|source| LayerError::Pack { kind: LayerKind::Programs, source })?;
        self.store.trim(LayerKind::Programs, BUDGET)
    }
}

/// Copies a file, or shares its blocks where the filesystem can. A second name would be cheaper, and
/// would change the times by which the program is known.
fn take(path: &Utf8Path, to: &Utf8Path) -> Result<(), ProgramError> {
    let taken = fs::copy(path, to);
    taken.map(drop).map_err(|source| ProgramError::Unreadable { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use banger_protocol::event::Events;

    use super::*;
    use crate::layer::testing::can_pack;
    use crate::rundir::Layout;

    fn programs(path: &Utf8Path, guest: Option<GlibcVersion>) -> Programs {
        Programs { paths: vec![path.to_owned()], guest, library_path: Vec::new() }
    }

    #[tokio::test]
    async fn a_program_that_was_built_anew_makes_another_layer() {
        if !can_pack() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let store = LayerStore::new(&Layout::under(&dir.join("home")), Events::silent());
        let program = dir.join("program");
        fs::copy("/bin/sh", &program).unwrap();
        let new = programs(&program, Some(GlibcVersion::new(3, 0)));
        let first = store.programs(&new).await.unwrap().id().clone();
        assert_eq!(store.programs(&new).await.unwrap().id(), &first);
        let old = store.programs(&programs(&program, None)).await.unwrap();
        assert_ne!(old.id(), &first);
        drop(old);
        fs::copy("/bin/cat", &program).unwrap();
        assert_ne!(store.programs(&new).await.unwrap().id(), &first);
        assert_eq!(store.list().unwrap().len(), 3);
        store.trim(LayerKind::Programs, 0).unwrap();
        assert!(store.list().unwrap().is_empty());
    }

    /// More than there is room for, by many at a time: each finds or makes its own.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_that_pack_and_trim_do_not_disturb_each_other() {
        if !can_pack() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap().to_owned();
        let store = LayerStore::new(&Layout::under(&dir.join("home")), Events::silent());
        let pack = |name: usize| {
            let (store, program) = (store.clone(), dir.join(name.to_string()));
            fs::copy("/bin/true", &program).unwrap();
            tokio::spawn(async move {
                for _ in 0..10 {
                    let programs = programs(&program, Some(GlibcVersion::new(3, 0)));
                    let layer = store.programs(&programs).await.unwrap();
                    assert!(layer.image().exists());
                    drop(layer);
                    store.trim(LayerKind::Programs, 0).unwrap();
                }
            })
        };
        for packing in (0..8).map(pack).collect::<Vec<_>>() {
            packing.await.unwrap();
        }
        assert!(store.list().unwrap().is_empty());
        let left = fs::read_dir(dir.join("home/cache/layers")).unwrap().count();
        assert_eq!(left, 0, "locks stay");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let store = LayerStore::new(&Layout::under(dir), Events::silent());
        let error = store.programs(&programs("/no/such".into(), None)).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/no/such`");
    }
}
