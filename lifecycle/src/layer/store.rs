//! The layers on disk: who builds, who uses, who may remove.

use std::io;

use banger_protocol::event::{Events, Stage};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use crate::layer::error::LayerError;
use crate::layer::record::{IMAGE, LayerId, LayerInfo, LayerKind, LayerRecord, RECORD};
use crate::rundir::shelf::Turn;
use crate::rundir::{FileLock, Kind, Layout, Lease, Shelf, Sums, content};

/// A layer in use. While this lives the layer is not removed; dropping it lets it go.
#[must_use = "the layer may be removed when this is dropped"]
#[derive(Debug)]
pub struct Layer {
    id: LayerId,
    image: Utf8PathBuf,
    mount_point: Utf8PathBuf,
    lease: Lease,
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
        self.lease.lock()
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
    shelf: Shelf,
    pub(super) events: Events,
}

impl LayerStore {
    /// Looks for layers where the layout says; creates nothing yet.
    #[must_use]
    pub fn new(layout: &Layout, events: Events) -> Self {
        Self { shelf: Shelf::new(layout, Kind::Layers), events }
    }

    /// Lists all layers, in order of kind and key.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn list(&self) -> Result<Vec<LayerInfo>, LayerError> {
        let ids = self.shelf.names().map_err(self.failed())?.into_iter();
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
            Ok([id]) if self.shelf.remove(&id.to_string()).map_err(self.failed())? => Ok(id),
            Ok([id]) => Err(LayerError::InUse { name: id.to_string() }),
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
        self.shelf.sweep().map(|swept| swept.len()).map_err(self.failed())
    }

    /// Removes layers of one kind, those used longest ago first, until the rest takes up `budget`
    /// bytes at most. What is in use stays.
    pub(super) fn trim(&self, kind: LayerKind, budget: u64) -> Result<(), LayerError> {
        let mut layers = self.list()?;
        layers.retain(|layer| layer.id.kind == kind);
        layers.sort_by_key(|layer| (!layer.in_use, std::cmp::Reverse(layer.used)));
        let mut total = 0;
        for layer in layers {
            if layer.in_use || total + layer.size <= budget {
                total += layer.size;
            } else {
                self.shelf.remove(&layer.id.to_string()).map_err(self.failed())?;
            }
        }
        Ok(())
    }

    /// Finds the layer, or makes it: once, however many ask for it at the same time.
    pub(super) async fn obtain(&self, recipe: &impl Recipe) -> Result<Layer, LayerError> {
        let id = recipe.id();
        if let Some(layer) = self.open(id, recipe.mount_point()).await.map_err(self.failed())? {
            return Ok(layer);
        }
        let waiting = || {
            self.events.note(format!("waiting for another process to build the {} layer", id.kind));
        };
        let turn = self.shelf.turn(&id.to_string(), waiting).await.map_err(self.failed())?;
        // Whoever had the turn before us may have made it.
        if let Some(layer) = self.open(id, recipe.mount_point()).await.map_err(self.failed())? {
            return Ok(layer);
        }
        if turn.place().exists() {
            self.events.note(format!("the {} layer is damaged, making it anew", id.kind));
        }
        self.build(recipe, &turn).await?;
        // Removing takes the turn, which is still ours.
        let layer = self.open(id, recipe.mount_point()).await.map_err(self.failed())?;
        layer.ok_or_else(|| LayerError::Vanished { kind: id.kind, key: id.key.clone() })
    }

    /// Builds in a directory of its own and moves the result into place.
    async fn build(&self, recipe: &impl Recipe, turn: &Turn) -> Result<(), LayerError> {
        let id = recipe.id();
        let (scratch, made) = turn.begin().await.map_err(self.failed())?;
        let image = made.join(IMAGE);
        let published = async {
            recipe.build(&scratch, &image).await?;
            let (id, what) = (id.clone(), recipe.what());
            let describe = move || {
                let sums = Sums::of(&made, [IMAGE])?;
                let record = LayerRecord::now(&id, what, fs::metadata(&image)?.len(), sums);
                fs::write(made.join(RECORD), serde_json::to_vec_pretty(&record)?)
            };
            let described = tokio::task::spawn_blocking(describe).await.map_err(io::Error::other);
            described.flatten().map_err(self.failed())?;
            turn.publish().await.map_err(self.failed())
        };
        let published: Result<(), LayerError> = published.await;
        let cleared = turn.clear().await.map_err(self.failed());
        published.and(cleared)
    }

    /// Opens a layer for use, where it is there and whole.
    async fn open(&self, id: &LayerId, mount_point: &Utf8Path) -> io::Result<Option<Layer>> {
        let whole = |dir: &Utf8Path| Some(LayerRecord::read_whole(dir, id)?.sums);
        let checking = || {
            let text = format!("checking the {} layer (once after a boot of this host)", id.kind);
            self.events.progress(Stage::Image, text, 0, None);
        };
        let lease = self.shelf.open(&id.to_string(), whole, checking).await?;
        Ok(lease.map(|lease| Layer {
            id: id.clone(),
            image: lease.dir().join(IMAGE),
            mount_point: mount_point.to_owned(),
            lease,
        }))
    }

    fn describe(&self, id: LayerId) -> LayerInfo {
        let name = id.to_string();
        let dir = self.shelf.place(&name);
        let record = LayerRecord::read_whole(&dir, &id);
        let size = fs::metadata(dir.join(IMAGE)).map_or(0, |file| file.len());
        let used = self.shelf.used(&name);
        let built = record.as_ref().map_or(used, LayerRecord::built);
        let in_use = self.shelf.in_use(&name);
        let damaged = record.is_none() || content::is_damaged(&dir);
        let what = record.map(|record| record.what).unwrap_or_default();
        LayerInfo { id, what, size, built, used, in_use, damaged }
    }

    /// Wraps what went wrong in the store's directory.
    pub(super) fn failed(&self) -> impl Fn(io::Error) -> LayerError {
        let dir = self.shelf.dir().to_owned();
        move |source| LayerError::Store { dir: dir.clone(), source }
    }
}

#[cfg(test)]
mod tests;
