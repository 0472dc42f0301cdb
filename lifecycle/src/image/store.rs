//! Finds, builds, lists and removes images.
//!
//! ```text
//! images/<digest>/        an image, whole and never written again; `lock` is shared by its users
//! images/refs/<slot>      which image a packages.apt, suite and mirror use
//! images/.lock-<key>      held by who builds a content key, or sweeps what a dead build left
//! images/.build-<key>-…   an image being built
//! images/.gone-…          an image being removed
//! ```

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use banger_protocol::event::{Events, Stage};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::build::{Builder, Debian, Progress, STEPS, blocking};
use super::error::ImageError;
use super::manifest::{Digest, Manifest};
use super::packages::Difference;
use super::recipe::Recipe;
use super::refs::Refs;
use super::stored::{self, Image};
use crate::rundir::publish::publish;
use crate::rundir::{FileLock, Layout, content, leases, private};

pub(super) mod seal;
mod sweep;

/// The directory of images.
#[must_use]
pub struct ImageStore {
    directory: Utf8PathBuf,
    layout: Layout,
    refs: Refs,
    builder: Arc<dyn Builder>,
    events: Events,
}

/// Whether a recipe's image is what the recipe now asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Staleness {
    /// There is none, or it is damaged.
    Missing,
    /// It is.
    Fresh {
        /// The image.
        digest: Digest,
    },
    /// The package list changed since it was built.
    Changed {
        /// The image.
        digest: Digest,
        /// What the list has more and less now.
        difference: Difference,
        /// How long ago it was built.
        age: Duration,
    },
}

/// One line of a listing.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The image.
    pub digest: Digest,
    /// What it is, where that can be read.
    pub manifest: Option<Manifest>,
    /// Why it is not used, where it is damaged.
    pub damage: Option<String>,
    /// What it takes on disk, in bytes.
    pub size_on_disk: u64,
    /// Whether a VM uses it now.
    pub in_use: bool,
    /// How many workspaces boot it.
    pub slots: usize,
}

impl ImageStore {
    /// Opens the store; creates nothing yet.
    pub fn new(layout: &Layout, events: Events) -> Self {
        let builder = Arc::new(Debian::new(layout.logs(), events.clone()));
        Self::with_builder(layout, events, builder)
    }

    pub(crate) fn with_builder(layout: &Layout, events: Events, builder: Arc<dyn Builder>) -> Self {
        let directory = layout.images();
        let (refs, layout) = (Refs::new(directory.join("refs")), layout.clone());
        Self { refs, directory, layout, builder, events }
    }

    /// The image for a recipe: the one it has, even where the package list has changed since
    /// (with a warning), else any stored one with the same content, else a new one.
    ///
    /// With `rebuild` the image is built anew. Two processes that want the same image at once
    /// build it once. Call from the main thread: the tools die with the thread that starts them.
    ///
    /// # Errors
    /// Where an image must be built and cannot.
    pub async fn ensure(&self, recipe: &Recipe, rebuild: bool) -> Result<Image, ImageError> {
        if rebuild {
            return self.build(recipe).await;
        }
        match self.present(recipe).await? {
            Some(image) => Ok(image),
            None => self.make(recipe, "building image (first use; a minute or two)").await,
        }
    }

    /// Builds the image anew and has the recipe's slot use it. As [`ImageStore::ensure`] else.
    ///
    /// # Errors
    /// Where it cannot be built.
    pub async fn build(&self, recipe: &Recipe) -> Result<Image, ImageError> {
        self.make(recipe, "building image (a minute or two)").await
    }

    /// Every image, newest first.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn list(&self) -> Result<Vec<Summary>, ImageError> {
        let digests = self.digests()?;
        let leased = self.leased()?;
        let summary = |digest| self.summary(digest, &leased);
        let mut list: Vec<Summary> = digests.into_iter().map(summary).collect();
        list.sort_by_key(|summary| {
            let built = summary.manifest.as_ref().map(Manifest::built_at);
            (std::cmp::Reverse(built), summary.digest.clone())
        });
        Ok(list)
    }

    /// What the one image whose digest begins with `prefix` is.
    ///
    /// # Errors
    /// Where there is none or there are several, or its manifest cannot be read.
    pub fn inspect(&self, prefix: &str) -> Result<Manifest, ImageError> {
        let digest = self.resolve(prefix)?;
        Manifest::read(&self.path(&digest)).map_err(|error| damaged(&digest, error.to_string()))
    }

    /// The directory of the image whose digest begins with `prefix`. Its files are only to be read,
    /// and go when the image is removed.
    ///
    /// # Errors
    /// Where there is none, or there are several.
    pub fn directory(&self, prefix: &str) -> Result<Utf8PathBuf, ImageError> {
        Ok(self.path(&self.resolve(prefix)?))
    }

    /// Compares a recipe with the image its slot uses. Builds nothing.
    pub fn why_stale(&self, recipe: &Recipe) -> Staleness {
        let Some(digest) = self.refs.get(recipe) else {
            return Staleness::Missing;
        };
        let directory = self.path(&digest);
        let Ok(manifest) = Manifest::read(&directory) else {
            return Staleness::Missing;
        };
        if manifest.check_files(&directory).is_err() || content::is_damaged(&directory) {
            return Staleness::Missing;
        }
        if manifest.packages.hash == recipe.packages().hash() {
            return Staleness::Fresh { digest };
        }
        let difference = manifest.difference(recipe.packages());
        Staleness::Changed { digest, difference, age: manifest.age(SystemTime::now()) }
    }

    /// Removes the one image whose digest begins with `prefix`.
    ///
    /// # Errors
    /// Where there is none or there are several, a VM uses it, or it cannot be removed.
    pub fn rm(&self, prefix: &str) -> Result<Digest, ImageError> {
        let digest = self.resolve(prefix)?;
        self.remove(&digest)?;
        Ok(digest)
    }

    /// Removes what dead builds and removals left behind, and returns how many that were.
    pub fn sweep(&self) -> usize {
        sweep::sweep(&self.directory, None)
    }

    /// The image in place for a recipe, fresh or not.
    async fn present(&self, recipe: &Recipe) -> Result<Option<Image>, ImageError> {
        let used = match self.refs.get(recipe) {
            Some(digest) => self.open_or_warn(&digest).await?,
            None => None,
        };
        if used.as_ref().is_some_and(|image| is_fresh(image.manifest(), recipe)) {
            return Ok(used);
        }
        if let Some(twin) = self.twin(recipe).await? {
            self.refs.set(recipe, twin.digest()).await?;
            return Ok(Some(twin));
        }
        if let Some(image) = &used {
            self.warn_changed(image.manifest(), recipe);
        }
        Ok(used)
    }

    /// The newest stored image with the recipe's content, wherever it was built for.
    async fn twin(&self, recipe: &Recipe) -> Result<Option<Image>, ImageError> {
        let candidates = self.list()?.into_iter().filter(|summary| {
            summary.damage.is_none()
                && summary.manifest.as_ref().is_some_and(|manifest| is_fresh(manifest, recipe))
        });
        for candidate in candidates {
            match self.open(&candidate.digest).await {
                Ok(image) => return Ok(Some(image)),
                Err(error) => tracing::debug!(%error, "an image went away"),
            }
        }
        Ok(None)
    }

    /// Takes an image into use.
    async fn open(&self, digest: &Digest) -> Result<Image, ImageError> {
        let checking = || {
            let text = "checking the image (once after a boot of this host)";
            self.events.progress(Stage::Image, text, 0, None);
        };
        Image::open(&self.path(digest), digest, self.layout.boot(), checking).await
    }

    async fn open_or_warn(&self, digest: &Digest) -> Result<Option<Image>, ImageError> {
        match self.open(digest).await {
            Ok(image) => Ok(Some(image)),
            Err(ImageError::NotFound(_)) => Ok(None),
            Err(ImageError::Damaged { digest: short, reason }) => {
                self.events.warning(
                    format!("the image `{short}` is damaged and is not used: {reason}"),
                    None,
                );
                if let Err(error) = self.remove(digest) {
                    tracing::debug!(%error, "the damaged image stays");
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn warn_changed(&self, manifest: &Manifest, recipe: &Recipe) {
        let (origin, list) = (recipe.packages().origin(), recipe.packages());
        self.events.warning(
            format!("{origin} changed since the image was built: {}", manifest.difference(list)),
            Some("`cargo banger image build` or `--rebuild` renews it"),
        );
    }

    async fn make(&self, recipe: &Recipe, title: &str) -> Result<Image, ImageError> {
        private::create_dir_all(&self.directory).map_err(ImageError::io("make the image store"))?;
        let begun = SystemTime::now() - Duration::from_secs(1);
        let (lock, waited) = self.build_lock(recipe).await?;
        if waited
            && let Some(image) = self.twin(recipe).await?
            && image.manifest().built_at() >= begun
        {
            self.refs.set(recipe, image.digest()).await?;
            return Ok(image);
        }
        sweep::sweep(&self.directory, Some(&recipe.content_key()));
        let temporary = self.temporary(recipe)?;
        let directory = Utf8Path::from_path(temporary.path()).expect("the store's path is UTF-8");
        let parts = self.builder.build(recipe, directory, title).await?;
        Progress { events: &self.events, title }.step("hashing", STEPS - 1);
        let digest = {
            let (directory, recipe) = (directory.to_owned(), recipe.clone());
            blocking(move || seal::seal(&directory, &recipe, parts)).await?
        };
        let image = match self.open(&digest).await {
            Ok(image) => image,
            // There is none, or a damaged one.
            Err(_) => {
                self.put_in_place(directory, &digest).await?;
                self.open(&digest).await?
            }
        };
        self.refs.set(recipe, &digest).await?;
        drop(lock);
        Ok(image)
    }

    /// Puts a new image where users look, once it is on disk, in place of a damaged one.
    async fn put_in_place(&self, made: &Utf8Path, digest: &Digest) -> Result<(), ImageError> {
        let failed = || ImageError::io("store the new image");
        let target = self.path(digest);
        if target.exists() {
            // Who has it open keeps its files.
            let gone = self.directory.join(sweep::gone_name(digest));
            fs::rename(&target, &gone).map_err(failed())?;
            fs::remove_dir_all(&gone).map_err(failed())?;
        }
        let (made, boot) = (made.to_owned(), self.layout.boot().clone());
        blocking(move || {
            let published =
                content::note_whole(&made, &boot).and_then(|()| publish(&made, &target));
            published.map_err(failed())
        })
        .await
    }

    /// Takes the lock for building a recipe's content; tells whether somebody else had it.
    async fn build_lock(&self, recipe: &Recipe) -> Result<(FileLock, bool), ImageError> {
        let failed = || ImageError::io("lock the image store");
        let path = sweep::lock_path(&self.directory, &recipe.content_key());
        if let Some(lock) = FileLock::try_exclusive(&path).map_err(failed())? {
            return Ok((lock, false));
        }
        self.events.note("another banger is building this image; waiting");
        let lock = FileLock::exclusive(&path).await.map_err(failed())?;
        Ok((lock, true))
    }

    fn temporary(&self, recipe: &Recipe) -> Result<tempfile::TempDir, ImageError> {
        let prefix = sweep::build_prefix(&recipe.content_key());
        // Readable by others, for apt gives up root while it downloads.
        let mode = std::fs::Permissions::from_mode(0o755);
        tempfile::Builder::new()
            .prefix(&prefix)
            .permissions(mode)
            .tempdir_in(&self.directory)
            .map_err(ImageError::io("make a directory for the new image"))
    }

    fn remove(&self, digest: &Digest) -> Result<(), ImageError> {
        let directory = self.path(digest);
        let path = directory.join(stored::LOCK);
        let failed = || ImageError::io("remove the image");
        let lock = FileLock::try_exclusive_patiently(&path).map_err(failed())?;
        let lock = lock.ok_or_else(|| ImageError::InUse(digest.short().to_owned()))?;
        if !lock.is_current() {
            return Ok(()); // somebody else has just removed it
        }
        if self.leased()?.contains(digest.as_str()) {
            return Err(ImageError::InUse(digest.short().to_owned()));
        }
        let gone = self.directory.join(sweep::gone_name(digest));
        fs::rename(&directory, &gone).map_err(failed())?;
        self.refs.forget(digest);
        fs::remove_dir_all(&gone).map_err(failed())
    }

    /// The digests of those that VMs' records name.
    fn leased(&self) -> Result<BTreeSet<String>, ImageError> {
        let uses = leases::leased(&self.layout).map_err(ImageError::io("list the VMs"))?;
        Ok(uses.images)
    }

    fn summary(&self, digest: Digest, leased: &BTreeSet<String>) -> Summary {
        let directory = self.path(&digest);
        let manifest = Manifest::read(&directory);
        let checked = manifest.as_ref().map_err(ToString::to_string);
        let damage = checked.and_then(|manifest| manifest.check_files(&directory)).err();
        let found = || "its content is damaged".to_owned();
        let damage = damage.or_else(|| content::is_damaged(&directory).then(found));
        let lock = FileLock::try_exclusive_patiently(&directory.join(stored::LOCK));
        Summary {
            manifest: manifest.ok(),
            damage,
            size_on_disk: size_on_disk(&directory),
            in_use: matches!(lock, Ok(None)) || leased.contains(digest.as_str()),
            slots: self.refs.count(&digest),
            digest,
        }
    }

    fn resolve(&self, prefix: &str) -> Result<Digest, ImageError> {
        let mut digests = self.digests()?;
        digests.retain(|digest| digest.as_str().starts_with(prefix) && !prefix.is_empty());
        match digests.len() {
            0 => Err(ImageError::NotFound(prefix.to_owned())),
            1 => Ok(digests.remove(0)),
            _ => Err(ImageError::Ambiguous {
                prefix: prefix.to_owned(),
                matches: digests.iter().map(|digest| digest.short().to_owned()).collect(),
            }),
        }
    }

    fn digests(&self) -> Result<Vec<Digest>, ImageError> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(ImageError::io("list the images"))?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut digests: Vec<Digest> = names.filter_map(|name| Digest::parse(&name)).collect();
        digests.sort();
        Ok(digests)
    }

    fn path(&self, digest: &Digest) -> Utf8PathBuf {
        self.directory.join(digest.as_str())
    }
}

impl std::fmt::Debug for ImageStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageStore").field("directory", &self.directory).finish_non_exhaustive()
    }
}

fn is_fresh(manifest: &Manifest, recipe: &Recipe) -> bool {
    manifest.suite == recipe.suite()
        && manifest.mirror.as_deref() == recipe.mirror()
        && manifest.packages.hash == recipe.packages().hash()
}

fn damaged(digest: &Digest, reason: String) -> ImageError {
    ImageError::Damaged { digest: digest.short().to_owned(), reason }
}

fn size_on_disk(directory: &Utf8Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    sizes.map(|meta| meta.blocks() * 512).sum()
}

#[cfg(test)]
mod tests;
