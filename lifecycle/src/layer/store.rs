//! The layers on disk: who builds, who uses, who may remove.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use banger_protocol::event::Events;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use crate::layer::error::LayerError;
use crate::layer::record::{LayerId, LayerInfo, LayerKind, LayerRecord};
use crate::rundir::{FileLock, Layout};

/// A layer in use. While this lives the layer is not removed; dropping it lets it go.
#[must_use = "the layer may be removed when this is dropped"]
#[derive(Debug)]
pub struct Layer {
    id: LayerId,
    image: Utf8PathBuf,
    mount_point: Utf8PathBuf,
    size: u64,
    lock: FileLock,
}

impl Layer {
    /// Its kind and key.
    #[must_use]
    pub fn id(&self) -> &LayerId {
        &self.id
    }

    /// The erofs image, to be attached read-only.
    #[must_use]
    pub fn image(&self) -> &Utf8Path {
        &self.image
    }

    /// The image's size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where the guest mounts it.
    #[must_use]
    pub fn mount_point(&self) -> &Utf8Path {
        &self.mount_point
    }

    /// The guest's directory that belongs on `PATH`, where the layer has programs.
    #[must_use]
    pub fn bin(&self) -> Option<Utf8PathBuf> {
        (self.id.kind == LayerKind::Toolchain).then(|| self.mount_point.join("bin"))
    }

    /// The shared lock, for handing it on to the process that uses the image.
    pub fn lock(&self) -> &FileLock {
        &self.lock
    }
}

/// How to make one layer.
pub(super) trait Recipe: Sync {
    /// The layer's kind and content key.
    fn id(&self) -> &LayerId;

    /// Where the guest mounts it.
    fn mount_point(&self) -> &Utf8Path;

    /// What is in it, for people.
    fn what(&self) -> String;

    /// Writes the image to `image`, with `scratch` as a directory for what it takes.
    fn build(
        &self,
        scratch: &Utf8Path,
        image: &Utf8Path,
    ) -> impl Future<Output = Result<(), LayerError>> + Send;
}

/// All layers of one user.
#[derive(Clone, Debug)]
pub struct LayerStore {
    dir: Utf8PathBuf,
    pub(super) events: Events,
}

impl LayerStore {
    /// Looks for layers where the layout says; creates nothing yet.
    #[must_use]
    pub fn new(layout: &Layout, events: Events) -> Self {
        Self { dir: layout.layers(), events }
    }

    /// Lists all layers, in order of kind and key.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn list(&self) -> Result<Vec<LayerInfo>, LayerError> {
        let ids = self.names().map_err(self.failed())?.into_iter();
        let mut layers: Vec<LayerInfo> =
            ids.filter_map(|name| name.parse().ok()).map(|id| self.describe(id)).collect();
        layers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(layers)
    }

    /// Removes the layer whose key, or `<kind>-<key>`, starts with `key`, and returns its name.
    ///
    /// # Errors
    /// Where no layer or several are called so, or a VM uses it.
    pub fn remove(&self, key: &str) -> Result<LayerId, LayerError> {
        let mut found: Vec<LayerId> = self.list()?.into_iter().map(|info| info.id).collect();
        found.retain(|id| id.key.starts_with(key) || id.to_string().starts_with(key));
        match <[LayerId; 1]>::try_from(found) {
            Ok([id]) => self.remove_layer(&id).map(|()| id),
            Err(found) if found.is_empty() => Err(LayerError::Unknown { key: key.to_owned() }),
            Err(found) => {
                let candidates = found.iter().map(ToString::to_string).collect();
                Err(LayerError::Ambiguous { key: key.to_owned(), candidates })
            }
        }
    }

    /// Removes what builds that were killed have left behind, and returns how many there were.
    ///
    /// # Errors
    /// Where the directory cannot be read, or something in it not removed.
    pub fn sweep(&self) -> Result<usize, LayerError> {
        let mut swept = 0;
        for name in self.names().map_err(self.failed())? {
            let Some(id) = name.strip_prefix(".tmp-").and_then(|name| name.parse().ok()) else {
                continue;
            };
            let lock = FileLock::try_exclusive(&self.build_lock(&id)).map_err(self.failed())?;
            if let Some(_building) = lock {
                fs::remove_dir_all(self.scratch(&id)).map_err(self.failed())?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Finds the layer, or makes it: once, however many ask for it at the same time.
    pub(super) async fn obtain(&self, recipe: &impl Recipe) -> Result<Layer, LayerError> {
        let id = recipe.id();
        if let Some(layer) = self.open(id, recipe.mount_point()).await.map_err(self.failed())? {
            return Ok(layer);
        }
        let _building = self.lock_for_building(id).await.map_err(self.failed())?;
        // Whoever held the lock before us may have made it.
        if let Some(layer) = self.open(id, recipe.mount_point()).await.map_err(self.failed())? {
            return Ok(layer);
        }
        if self.layer_dir(id).exists() {
            self.events.note(format!("the {} layer is damaged, making it anew", id.kind));
        }
        self.build(recipe).await?;
        // Removing takes the build lock, which is still ours.
        let layer = self.open(id, recipe.mount_point()).await.map_err(self.failed())?;
        layer.ok_or_else(|| LayerError::Vanished { kind: id.kind, key: id.key.clone() })
    }

    /// Takes the lock that makes us the only builder, and says so where that means waiting.
    async fn lock_for_building(&self, id: &LayerId) -> io::Result<FileLock> {
        fs::create_dir_all(&self.dir)?;
        let path = self.build_lock(id);
        if let Some(lock) = FileLock::try_exclusive(&path)? {
            return Ok(lock);
        }
        self.events.note(format!("waiting for another process to build the {} layer", id.kind));
        FileLock::exclusive(&path).await
    }

    /// Builds in a directory of its own and renames the result into place.
    async fn build(&self, recipe: &impl Recipe) -> Result<(), LayerError> {
        let id = recipe.id();
        let scratch = self.scratch(id);
        let made = scratch.join("made");
        clear(&scratch).await.map_err(self.failed())?;
        fs::create_dir_all(&made).map_err(self.failed())?;
        let image = made.join("layer.erofs");
        let built = recipe.build(&scratch, &image).await;
        let published = built
            .and_then(|()| self.publish(id, recipe.what(), &scratch, &made).map_err(self.failed()));
        let cleared = clear(&scratch).await.map_err(self.failed());
        published.and(cleared)
    }

    /// Writes the record beside the image, and puts both where users look.
    fn publish(
        &self,
        id: &LayerId,
        what: String,
        scratch: &Utf8Path,
        made: &Utf8Path,
    ) -> io::Result<()> {
        let size = fs::metadata(made.join("layer.erofs"))?.len();
        let record = serde_json::to_vec_pretty(&LayerRecord::now(id, what, size))?;
        fs::write(made.join("layer.json"), record)?;
        fs::write(made.join("lock"), "")?;
        let dir = self.layer_dir(id);
        if dir.exists() {
            // A damaged one. VMs that have it open keep their file.
            fs::rename(&dir, scratch.join("damaged"))?;
        }
        fs::rename(made, dir)
    }

    /// Opens a layer for use, where it is there and whole.
    async fn open(&self, id: &LayerId, mount_point: &Utf8Path) -> io::Result<Option<Layer>> {
        let dir = self.layer_dir(id);
        let path = dir.join("lock");
        // Nobody holds it exclusively for long: only removing does, and a glance by `list`.
        let lock = match FileLock::shared(&path).await {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // Between opening the file and locking it the layer may have been removed or replaced.
        if !is_same_file(lock.file(), &path) {
            return Ok(None);
        }
        let Some(record) = LayerRecord::read_whole(&dir, id) else {
            return Ok(None);
        };
        if let Err(error) = lock.file().set_modified(SystemTime::now()) {
            tracing::debug!(%id, %error, "cannot note when the layer was used");
        }
        let image = dir.join("layer.erofs");
        let mount_point = mount_point.to_owned();
        Ok(Some(Layer { id: id.clone(), image, mount_point, size: record.size, lock }))
    }

    fn remove_layer(&self, id: &LayerId) -> Result<(), LayerError> {
        let in_use = || LayerError::InUse { name: id.to_string() };
        let building = FileLock::try_exclusive(&self.build_lock(id)).map_err(self.failed())?;
        let _building = building.ok_or_else(in_use)?;
        let dir = self.layer_dir(id);
        let lock = FileLock::try_exclusive(&dir.join("lock")).map_err(self.failed())?;
        let _unused = lock.ok_or_else(in_use)?;
        // In one step out of sight, then at leisure; a kill in between leaves it to the sweep.
        let scratch = self.scratch(id);
        let removed = remove_if_there(&scratch)
            .and_then(|()| fs::rename(&dir, &scratch))
            .and_then(|()| fs::remove_dir_all(&scratch));
        removed.map_err(self.failed())
    }

    fn describe(&self, id: LayerId) -> LayerInfo {
        let dir = self.layer_dir(&id);
        let record = LayerRecord::read_whole(&dir, &id);
        let modified = |name: &str| fs::metadata(dir.join(name)).and_then(|file| file.modified());
        let size = fs::metadata(dir.join("layer.erofs")).map_or(0, |file| file.len());
        let used = modified("lock").unwrap_or(SystemTime::UNIX_EPOCH);
        let built = record.as_ref().map_or(used, LayerRecord::built);
        let in_use = matches!(FileLock::try_exclusive(&dir.join("lock")), Ok(None));
        let damaged = record.is_none();
        let what = record.map(|record| record.what).unwrap_or_default();
        LayerInfo { id, what, size, built, used, in_use, damaged }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }

    fn layer_dir(&self, id: &LayerId) -> Utf8PathBuf {
        self.dir.join(id.to_string())
    }

    fn build_lock(&self, id: &LayerId) -> Utf8PathBuf {
        self.dir.join(format!(".lock-{id}"))
    }

    fn scratch(&self, id: &LayerId) -> Utf8PathBuf {
        self.dir.join(format!(".tmp-{id}"))
    }

    /// Wraps what went wrong in the store's directory.
    pub(super) fn failed(&self) -> impl Fn(io::Error) -> LayerError {
        let dir = self.dir.clone();
        move |source| LayerError::Store { dir: dir.clone(), source }
    }
}

fn is_same_file(open: &std::fs::File, path: &Utf8Path) -> bool {
    let Ok(there) = fs::metadata(path) else {
        return false;
    };
    open.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (there.dev(), there.ino()))
}

fn remove_if_there(dir: &Utf8Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a tree, which may hold tens of thousands of files, off the async threads.
async fn clear(dir: &Utf8Path) -> io::Result<()> {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || remove_if_there(&dir)).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
