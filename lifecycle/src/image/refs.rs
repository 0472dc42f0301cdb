//! Which image each slot (a `packages.apt`, suite and mirror) uses: one small file each.

use camino::Utf8PathBuf;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::error::ImageError;
use super::manifest::Digest;
use super::recipe::Recipe;
use crate::rundir::{FileLock, private, publish};

/// The directory of references.
#[derive(Debug)]
pub(super) struct Refs {
    directory: Utf8PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
struct Reference {
    digest: Digest,
    /// For people.
    origin: String,
    suite: String,
}

impl Refs {
    pub(super) fn new(directory: Utf8PathBuf) -> Self {
        Self { directory }
    }

    /// The image the recipe's slot uses. A file that does not parse counts as none.
    pub(super) fn get(&self, recipe: &Recipe) -> Option<Digest> {
        self.parse(&recipe.slot())
    }

    /// Has the recipe's slot use an image.
    pub(super) async fn set(&self, recipe: &Recipe, digest: &Digest) -> Result<(), ImageError> {
        let failed = || ImageError::io("record which image the workspace uses");
        private::create_dir_all(&self.directory).map_err(failed())?;
        let lock = FileLock::exclusive(&self.directory.join(".lock")).await.map_err(failed())?;
        let reference = Reference {
            digest: digest.clone(),
            origin: recipe.packages().origin().to_string(),
            suite: recipe.suite().to_owned(),
        };
        let text = serde_json::to_string_pretty(&reference).expect("strings make JSON");
        publish::write(&self.path(&recipe.slot()), text.as_bytes()).map_err(failed())?;
        drop(lock);
        Ok(())
    }

    /// How many slots use an image.
    pub(super) fn count(&self, digest: &Digest) -> usize {
        self.slots().iter().filter(|slot| self.parse(slot).as_ref() == Some(digest)).count()
    }

    /// Forgets every slot's use of an image.
    pub(super) fn forget(&self, digest: &Digest) {
        for slot in self.slots() {
            if self.parse(&slot).as_ref() == Some(digest)
                && let Err(error) = fs::remove_file(self.path(&slot))
            {
                tracing::debug!(%error, "a reference to a removed image stays");
            }
        }
    }

    fn slots(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| !name.starts_with('.')).collect()
    }

    fn path(&self, slot: &str) -> Utf8PathBuf {
        self.directory.join(slot)
    }

    fn parse(&self, slot: &str) -> Option<Digest> {
        let text = fs::read_to_string(self.path(slot)).ok()?;
        serde_json::from_str::<Reference>(&text).ok().map(|reference| reference.digest)
    }
}
