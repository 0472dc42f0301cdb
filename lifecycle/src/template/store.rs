//! The templates on disk: who makes, who uses, who may remove.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::key::TemplateKey;
use super::record::{Content, TemplateInfo, TemplateRecord, allocated};
use crate::event::{Events, Stage};
use crate::rundir::shelf::Turn;
use crate::rundir::{Kind, Layout, Lease, Shelf, content};

/// The guest's memory.
pub(crate) const MEMORY: &str = "memory";
/// The devices' state.
pub(crate) const STATE: &str = "state";
/// The root disk.
pub(crate) const ROOT: &str = "root.qcow2";
/// What was written to it, where it is a dm snapshot.
pub(crate) const ROOT_COW: &str = "root.cow";
/// The root disk as a raw file, where it is a copy.
pub(crate) const ROOT_RAW: &str = "root.disk";
/// An empty top over the root disk.
pub(crate) const OVERLAY: &str = "overlay.qcow2";
/// What it was booted with.
pub(crate) const INITRD: &str = "initrd.cpio";
/// A kernel of the user's own, as ELF.
pub(crate) const VMLINUX: &str = "vmlinux";
/// The root disk of the template that it was made from.
pub(crate) const BASE: &str = "base.qcow2";
/// The disk with a workspace's sources.
pub(crate) const WORK: &str = "work.qcow2";
/// An empty top over that disk.
pub(crate) const WORK_OVERLAY: &str = "work-overlay.qcow2";

/// What the files begin with that count how often a template was asked for that is not there, and
/// how long they stay after the last time.
const USES: &str = ".uses-";
const USES_LAST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How many templates one workspace may have in place.
const OF_A_WORKSPACE: usize = 4;

/// Why a template could not be found or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The directory of templates cannot be used.
    #[error("cannot keep templates in `{dir}`")]
    Store {
        /// The directory.
        dir: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No template's key begins so.
    #[error("there is no template `{0}`")]
    Unknown(String),
    /// Several templates' keys begin so.
    #[error("several templates are called `{0}`…")]
    Ambiguous(String),
    /// A VM runs from it.
    #[error("a VM uses the template `{0}`")]
    InUse(String),
    /// The host's disk was full before the guest's memory was on it.
    #[error("no room for the guest's memory in `{0}`")]
    NoRoom(Utf8PathBuf),
    /// It is gone or damaged right after it was made.
    #[error("the template `{0}` vanished right after it was made")]
    Vanished(String),
}

impl TemplateError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store { source, .. } if source.kind() == io::ErrorKind::StorageFull => Some(
                "free some disk space; `cargo banger gc` removes what is not in use".to_owned(),
            ),
            Self::NoRoom(_) => Some(
                "free some disk space, or use `--cold`; `cargo banger gc` removes what is not in use"
                    .to_owned(),
            ),
            Self::Unknown(_) | Self::Ambiguous(_) => {
                Some("`cargo banger template list` lists them".to_owned())
            }
            Self::InUse(_) => Some("`cargo banger ps` lists the VMs that run".to_owned()),
            Self::Store { .. } | Self::Vanished(_) => None,
        }
    }
}

/// A template in use. While this lives it is not removed; dropping it lets it go.
#[must_use = "the template may be removed when this is dropped"]
#[derive(Debug)]
pub struct Template {
    key: TemplateKey,
    lease: Lease,
}

impl Template {
    /// The start of its key, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.key.as_str()[..12]
    }

    /// Its key.
    pub(crate) fn key(&self) -> &TemplateKey {
        &self.key
    }

    /// One of its files.
    pub(crate) fn file(&self, name: &str) -> Utf8PathBuf {
        self.lease.dir().join(name)
    }
}

/// How much templates may take up on disk, in bytes, unless `gc` is told otherwise: some sixty of
/// the usual size.
const BUDGET: u64 = 8 << 30;

/// All templates of one user.
#[derive(Clone, Debug)]
pub struct TemplateStore {
    shelf: Shelf,
    images: Utf8PathBuf,
    events: Events,
}

impl TemplateStore {
    /// Looks for templates where the layout says; creates nothing yet.
    #[must_use]
    pub fn new(layout: &Layout, events: Events) -> Self {
        let shelf = Shelf::new(layout, Kind::Templates);
        Self { shelf, images: layout.images(), events }
    }

    /// Finds the template, or has `make` make it: once, however many ask for it at a time.
    ///
    /// `make` is given the directory to fill and the one that it becomes.
    pub(crate) async fn obtain<E: From<TemplateError>>(
        &self,
        key: &TemplateKey,
        content: &Content,
        make: impl AsyncFnOnce(&Utf8Path, &Utf8Path) -> Result<(), E>,
    ) -> Result<Template, E> {
        if let Some(template) = self.find(key).await? {
            return Ok(template);
        }
        let waiting = || self.events.note("waiting for another process to make the template");
        let turn = self.shelf.turn(key.as_str(), waiting).await.map_err(self.failed())?;
        // Whoever had the turn before us may have made it.
        if let Some(template) = self.find(key).await? {
            return Ok(template);
        }
        if turn.place().exists() {
            self.events.note("the template is damaged, making it anew");
        }
        self.fill(turn, key, content, make).await
    }

    /// Has `make` make a template that is not there, unless another process is at it.
    pub(crate) async fn make<E: From<TemplateError>>(
        &self,
        key: &TemplateKey,
        content: &Content,
        make: impl AsyncFnOnce(&Utf8Path, &Utf8Path) -> Result<(), E>,
    ) -> Result<Option<Template>, E> {
        match self.shelf.try_turn(key.as_str()).map_err(self.failed())? {
            Some(turn) => self.fill(turn, key, content, make).await.map(Some),
            None => Ok(None),
        }
    }

    /// Makes a template in our turn.
    async fn fill<E: From<TemplateError>>(
        &self,
        turn: Turn,
        key: &TemplateKey,
        content: &Content,
        make: impl AsyncFnOnce(&Utf8Path, &Utf8Path) -> Result<(), E>,
    ) -> Result<Template, E> {
        let (_, made) = turn.begin().await.map_err(self.failed())?;
        let outcome = make(&made, turn.place()).await;
        let publishing = async {
            let (key, content) = (key.clone(), content.clone());
            let describe = move || TemplateRecord::of(&made, key.as_str(), &content)?.write(&made);
            tokio::task::spawn_blocking(describe).await.map_err(io::Error::other)??;
            turn.publish().await
        };
        let outcome = match outcome {
            Ok(()) => publishing.await.map_err(|error| E::from(self.failed()(error))),
            failed => failed,
        };
        let cleared = turn.clear().await.map_err(self.failed());
        outcome?;
        cleared?;
        drop(self.trim(BUDGET)?);
        // Removing takes the turn, which is still ours.
        let template = self.find(key).await?;
        template.ok_or_else(|| TemplateError::Vanished(key.to_string()).into())
    }

    /// Counts that a template was asked for which is not there; returns how often it was.
    pub(crate) fn count_use(&self, key: &TemplateKey) -> Result<u64, TemplateError> {
        let path = self.shelf.dir().join(format!("{USES}{key}"));
        let count = || {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(path)?;
            file.write_all(b".")?;
            Ok(file.metadata()?.len())
        };
        count().map_err(self.failed())
    }

    /// Removes counts that nobody has added to for long.
    fn forget_uses(&self) -> io::Result<()> {
        for entry in self.shelf.dir().read_dir_utf8()? {
            let entry = entry?;
            let old = |path: &Utf8Path| {
                let modified = fs::metadata(path).and_then(|file| file.modified());
                modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > USES_LAST))
            };
            if entry.file_name().starts_with(USES) && old(entry.path()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Lists all templates, the one used last first.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn list(&self) -> Result<Vec<TemplateInfo>, TemplateError> {
        let names = self.shelf.names().map_err(self.failed())?;
        let mut list: Vec<_> = names.into_iter().map(|name| self.describe(name)).collect();
        list.sort_by(|one, two| (two.used, &two.key).cmp(&(one.used, &one.key)));
        Ok(list)
    }

    /// Removes the template whose key begins with `prefix`, and returns its key.
    ///
    /// # Errors
    /// Where there is none or there are several, or a VM uses it.
    pub fn remove(&self, prefix: &str) -> Result<String, TemplateError> {
        let mut keys = self.shelf.names().map_err(self.failed())?;
        keys.retain(|key| key.starts_with(prefix));
        match <[String; 1]>::try_from(keys) {
            Ok([key]) if self.shelf.remove(&key).map_err(self.failed())? => Ok(key),
            Ok([key]) => Err(TemplateError::InUse(key)),
            Err(found) if found.is_empty() => Err(TemplateError::Unknown(prefix.to_owned())),
            Err(_) => Err(TemplateError::Ambiguous(prefix.to_owned())),
        }
    }

    /// Removes those used longest ago until all together take up `budget` bytes at most and no
    /// workspace has many, and those that are damaged or whose image is gone. What is in use stays. Returns what was removed.
    ///
    /// # Errors
    /// Where the directory cannot be read, or something in it not removed.
    pub fn trim(&self, budget: u64) -> Result<Vec<TemplateInfo>, TemplateError> {
        let (in_use, free): (Vec<_>, Vec<_>) = self.list()?.into_iter().partition(|t| t.in_use);
        let mut total: u64 = in_use.iter().map(|template| template.size).sum();
        let mut removed = Vec::new();
        let mut of_workspaces = BTreeMap::<_, usize>::new();
        self.forget_uses().or_else(if_missing).map_err(self.failed())?;
        for template in free {
            let orphaned =
                template.image.as_ref().is_some_and(|image| !self.images.join(image).exists());
            let many = template.workspace.as_ref().is_some_and(|workspace| {
                let count = of_workspaces.entry(workspace.clone()).or_default();
                *count += 1;
                *count > OF_A_WORKSPACE
            });
            let kept = !orphaned && !template.damaged && !many;
            if kept && total + template.size <= budget {
                total += template.size;
            } else if self.shelf.remove(&template.key).map_err(self.failed())? {
                removed.push(template);
            }
        }
        Ok(removed)
    }

    /// Puts away a template from which no VM could start, so that it is made anew.
    pub(crate) async fn discard(&self, template: Template) -> Result<(), TemplateError> {
        let Template { key, lease } = template;
        drop(lease);
        self.shelf.discard(key.as_str()).await.map_err(self.failed())
    }

    /// Takes a template into use, where there is one and it is whole.
    pub(crate) async fn find(&self, key: &TemplateKey) -> Result<Option<Template>, TemplateError> {
        let whole = |dir: &Utf8Path| Some(TemplateRecord::read_whole(dir, key.as_str())?.sums);
        let checking = || {
            let text = "checking the template (once after a boot of this host)";
            self.events.progress(Stage::Template, text, 0, None);
        };
        let lease = self.shelf.open(key.as_str(), whole, checking).await.map_err(self.failed())?;
        Ok(lease.map(|lease| Template { key: key.clone(), lease }))
    }

    fn describe(&self, key: String) -> TemplateInfo {
        let dir = self.shelf.place(&key);
        let record = TemplateRecord::read_whole(&dir, &key);
        let used = self.shelf.used(&key);
        TemplateInfo {
            size: allocated(&dir),
            built: record.as_ref().map_or(SystemTime::UNIX_EPOCH, TemplateRecord::built),
            used,
            in_use: self.shelf.in_use(&key),
            damaged: record.is_none() || content::is_damaged(&dir),
            image: record.as_ref().and_then(|record| record.image.clone()),
            workspace: record.as_ref().and_then(|record| record.workspace.clone()),
            what: record.map(|record| record.what).unwrap_or_default(),
            key,
        }
    }

    fn failed(&self) -> impl Fn(io::Error) -> TemplateError {
        let dir = self.shelf.dir().to_owned();
        move |source| TemplateError::Store { dir: dir.clone(), source }
    }
}

/// Nothing is amiss where nothing is.
fn if_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests;
