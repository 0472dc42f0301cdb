//! Brings a file or a directory tree from the guest to the host.
//!
//! The guest is not trusted: its names must be plain, set-id bits stay behind, links that lead out of
//! the tree too, there is a bound to all it sends, and nothing is written outside the target; see
//! `staging` and `filter` for how.

use std::ffi::OsStr;
use std::io::{self, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use openssh_sftp_client::file::File;
use openssh_sftp_client::metadata::MetaData;
use tokio::io::AsyncSeekExt as _;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::spawn_blocking;

use super::error::{SyncError, is_missing};
use super::options::{Budget, DEPTH, PullOptions};
use super::outbox::CHUNK;
use super::place::Place;
use super::staging::Staging;
use super::tree::{Form, Skipped, Tree};
use super::{Session, guest, links, sparse};

/// Long files under way at once, and chunks of each: they bound the memory in use.
const LONG_FILES: usize = 4;
const CHUNKS: usize = 16;

/// What a new entry takes of the host's disk beside its content, at least.
const ENTRY: u64 = 4096;

/// What is to be fetched, and where to.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The guest path.
    pub guest: &'a Path,
    /// The host path.
    pub host: &'a Path,
    /// The handle of the run that fetches: what it makes on the way has that in its name.
    pub handle: &'a str,
    /// How much may come.
    pub options: PullOptions,
}

/// What a pull brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Files fetched.
    pub files: u64,
    /// Bytes of content fetched.
    pub bytes: u64,
    /// What did not come.
    pub skipped: Skipped,
}

/// Fetches a guest path to a host path, as `cp -a` would: into the host path if that is a directory,
/// under the guest path's last name; else to that very path, with the directories above it made.
///
/// Modes (but for what the process's mask takes from group and world) and times (in whole seconds)
/// are kept, holes too; links are fetched as links. Directories that are on both sides become one. A
/// link on the host is never followed: see `place`. Everything is fetched beside the target first and
/// moved in at the end: a pull that fails, or whose future is dropped, leaves what was there as it
/// was. `record` is told the path of the directory beside the target before it is made; it is gone
/// when the pull ends, or soon after its future was dropped.
///
/// # Errors
/// Where there is no such guest path or it is a link that leads elsewhere; the guest refuses, offers
/// names that lead elsewhere, more than may come, or nothing for 30 s; or the host cannot be written.
pub async fn pull(
    session: &Session,
    wanted: Wanted<'_>,
    record: impl FnOnce(&Path) -> io::Result<()> + Send,
    progress: impl Fn(u64, u64) + Send + Sync,
) -> Result<Fetched, SyncError> {
    session.guarded(bring(session, wanted, record, progress)).await
}

async fn bring(
    session: &Session,
    wanted: Wanted<'_>,
    record: impl FnOnce(&Path) -> io::Result<()> + Send,
    progress: impl Fn(u64, u64) + Send + Sync,
) -> Result<Fetched, SyncError> {
    let Wanted { guest, host, handle, options } = wanted;
    let metadata = match session.fs().symlink_metadata(guest).await {
        Ok(metadata) => metadata,
        Err(error) if is_missing(&error) => {
            return Err(SyncError::Missing { path: guest.to_owned() });
        }
        Err(error) => return Err(SyncError::guest("find", guest, error)),
    };
    let (from, to) = (guest.to_owned(), host.to_owned());
    let place = blocking(move || Place::find(&from, &to)).await?;
    let named = Staging::name(&place, handle);
    let (name, path) = named.map_err(SyncError::unwritable(host))?;
    record(&path).map_err(SyncError::unwritable(&path))?;
    let target = path.with_file_name(&place.name);
    let (alive, gone) = oneshot::channel();
    let making = move || Staging::make(place, name, alive).map_err(SyncError::unwritable(&path));
    let pull = Pull {
        session,
        guest,
        target,
        staging: Arc::new(blocking(making).await?),
        outside_links: options.outside_links,
        budget: Budget::new(options),
        long_files: Semaphore::new(LONG_FILES),
        files: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        refused: Mutex::default(),
        progress,
    };
    let outcome = pull.run(metadata).await;
    // Work that was given up may still hold it, for a moment.
    drop(gone.await);
    outcome
}

struct Pull<'a, P> {
    session: &'a Session,
    guest: &'a Path,
    /// The path to fetch to, for messages.
    target: PathBuf,
    staging: Arc<Staging>,
    outside_links: bool,
    budget: Budget,
    long_files: Semaphore,
    files: AtomicU64,
    bytes: AtomicU64,
    /// Links that do not come.
    refused: Mutex<Vec<u32>>,
    progress: P,
}

impl<P: Fn(u64, u64) + Send + Sync> Pull<'_, P> {
    async fn run(self, metadata: MetaData) -> Result<Fetched, SyncError> {
        let mut tree = self.list(metadata).await?;
        self.budget.allow(self.guest, tree.bytes())?;
        self.fetch(&tree).await?;
        let refused = self.refused.into_inner().unwrap_or_else(PoisonError::into_inner);
        tree.skip(&refused);
        let fetched = Fetched {
            files: self.files.into_inner(),
            bytes: self.bytes.into_inner(),
            skipped: tree.skipped(self.guest, &refused),
        };
        let (staging, target) = (self.staging, self.target);
        blocking(move || staging.install(&tree, &target)).await?;
        Ok(fetched)
    }

    /// Lists the whole tree, level by level.
    async fn list(&self, metadata: MetaData) -> Result<Tree, SyncError> {
        let mut tree = Tree::default();
        self.budget.entry(self.guest, &[])?;
        tree.add(0, &[], &metadata);
        let mut level = tree.all(Form::Directory);
        let tree = Mutex::new(tree);
        while !level.is_empty() {
            let below = Mutex::new(Vec::new());
            let (above, found) = (&level, &below);
            let tree = &tree;
            guest::each(above.len(), |at| self.list_directory(above[at], tree, found)).await?;
            level = below.into_inner().unwrap_or_else(PoisonError::into_inner);
        }
        Ok(tree.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    async fn list_directory(
        &self,
        number: u32,
        tree: &Mutex<Tree>,
        below: &Mutex<Vec<u32>>,
    ) -> Result<(), SyncError> {
        let path = locked(tree).path(self.guest, number);
        let add = |name: &OsStr, metadata: MetaData| {
            self.budget.entry(self.guest, name.as_bytes())?;
            let mut tree = locked(tree);
            let entry = tree.add(number, name.as_bytes(), &metadata);
            if tree.form(entry) != Form::Directory {
                return Ok(());
            }
            if tree.depth(entry) > DEPTH {
                return Err(SyncError::FetchTooDeep { path: self.guest.to_owned(), most: DEPTH });
            }
            locked(below).push(entry);
            Ok(())
        };
        guest::list(self.session, &path, add).await
    }

    async fn fetch(&self, tree: &Tree) -> Result<(), SyncError> {
        // Few at a time, but not one by one: each waits for a thread.
        for numbers in tree.all(Form::Directory).chunks(1024) {
            self.room_for(numbers.len() as u64 * ENTRY)?;
            let paths: Vec<_> = numbers.iter().map(|number| Staging::path(tree, *number)).collect();
            let (guest, target) = (self.guest_path(tree, numbers[0]), self.target.clone());
            let staging = Arc::clone(&self.staging);
            blocking(move || {
                let make = |path: &PathBuf| staging.directory().make(path, 0o700);
                paths.iter().try_for_each(make).map_err(failed(guest, target))
            })
            .await?;
        }
        let files = &tree.all(Form::File);
        guest::each(files.len(), |at| async move {
            self.fetch_file(tree, files[at]).await?;
            self.advance(1, 0);
            Ok(())
        })
        .await?;
        let links = &tree.all(Form::Link);
        guest::each(links.len(), |at| self.fetch_symlink(tree, links[at])).await
    }

    async fn fetch_symlink(&self, tree: &Tree, number: u32) -> Result<(), SyncError> {
        let from = self.guest_path(tree, number);
        let target = self.session.fs().read_link(&from).await;
        let target = target.map_err(|error| SyncError::guest("read link", &from, error))?;
        // The top stands beside the tree that it is.
        let leads_out = tree.depth(number).checked_sub(1);
        let leads_out = leads_out.is_none_or(|depth| links::may_lead_out(&target, depth));
        if leads_out && !self.outside_links {
            if number == 0 {
                return Err(SyncError::GuestLink { path: from, target });
            }
            locked(&self.refused).push(number);
            return Ok(());
        }
        self.room_for(ENTRY)?;
        self.on_host(tree, number, move |staging, path| staging.directory().symlink(&target, path))
            .await
    }

    async fn fetch_file(&self, tree: &Tree, number: u32) -> Result<(), SyncError> {
        let (from, size) = (self.guest_path(tree, number), tree.size(number));
        let failed = |error| SyncError::guest("read", &from, error);
        self.room_for(ENTRY)?;
        let source = self.session.open(&from).await.map_err(failed)?;
        // A kernel file says that it is empty, and is not.
        if size == 0 {
            return self.fetch_to_end(&source, &from, tree, number).await;
        }
        if size > CHUNK as u64 {
            return self.fetch_long(&source, &from, tree, number).await;
        }
        let length = usize::try_from(size).expect("it is at most a chunk");
        let content = read_at(source.clone(), 0, length).await.map_err(failed)?;
        source.close().await.map_err(failed)?;
        self.take(content.len())?;
        let finish = tree.finish(number);
        self.on_host(tree, number, move |staging, path| {
            let file = staging.directory().create(path)?;
            sparse::write_at(&file, 0, &content)?;
            staging.finish(&file, content.len() as u64, finish)
        })
        .await
    }

    async fn fetch_to_end(
        &self,
        source: &File,
        from: &Path,
        tree: &Tree,
        number: u32,
    ) -> Result<(), SyncError> {
        let file = self.create(tree, number).await?;
        let mut offset = 0;
        loop {
            let content = read_at(source.clone(), offset, CHUNK).await;
            let content = content.map_err(|error| SyncError::guest("read", from, error))?;
            let file = Arc::clone(&file);
            if content.is_empty() {
                let finish = tree.finish(number);
                let end = move |staging: &Staging, _: &Path| staging.finish(&file, offset, finish);
                return self.on_host(tree, number, end).await;
            }
            self.take(content.len())?;
            let (at, length) = (offset, content.len());
            self.on_host(tree, number, move |_, _| sparse::write_at(&file, at, &content)).await?;
            offset += length as u64;
        }
    }

    async fn fetch_long(
        &self,
        source: &File,
        from: &Path,
        tree: &Tree,
        number: u32,
    ) -> Result<(), SyncError> {
        let _turn = self.long_files.acquire().await.expect("the semaphore is never closed");
        let file = self.create(tree, number).await?;
        let size = tree.size(number);
        let end = AtomicU64::new(0);
        let starts = (0..size).step_by(CHUNK);
        stream::iter(starts)
            .map(|offset| {
                let (file, end) = (Arc::clone(&file), &end);
                async move {
                    let length = usize::try_from(size - offset).unwrap_or(CHUNK).min(CHUNK);
                    let content = read_at(source.clone(), offset, length).await;
                    let content = content.map_err(|error| SyncError::guest("read", from, error))?;
                    if content.is_empty() {
                        return Ok(());
                    }
                    self.take(content.len())?;
                    end.fetch_max(offset + content.len() as u64, Ordering::Relaxed);
                    let write =
                        move |_: &Staging, _: &Path| sparse::write_at(&file, offset, &content);
                    self.on_host(tree, number, write).await
                }
            })
            .buffer_unordered(CHUNKS)
            .try_collect::<()>()
            .await?;
        let (end, finish) = (end.into_inner(), tree.finish(number));
        self.on_host(tree, number, move |staging, _| staging.finish(&file, end, finish)).await
    }

    async fn create(&self, tree: &Tree, number: u32) -> Result<Arc<std::fs::File>, SyncError> {
        let create = |staging: &Staging, path: &Path| staging.directory().create(path);
        self.on_host(tree, number, create).await.map(Arc::new)
    }

    /// Does something to an entry on the host, off the async threads.
    async fn on_host<T: Send + 'static>(
        &self,
        tree: &Tree,
        number: u32,
        work: impl FnOnce(&Staging, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, SyncError> {
        let staging = Arc::clone(&self.staging);
        let path = Staging::path(tree, number);
        let guest = self.guest_path(tree, number);
        let host = tree.path(&self.target, number);
        blocking(move || work(&staging, &path).map_err(failed(guest, host))).await
    }

    fn guest_path(&self, tree: &Tree, number: u32) -> PathBuf {
        tree.path(self.guest, number)
    }

    /// Counts content that came and is to be written.
    fn take(&self, bytes: usize) -> Result<(), SyncError> {
        self.budget.bytes(self.guest, bytes)?;
        self.room_for(bytes as u64)?;
        self.advance(0, bytes);
        Ok(())
    }

    fn room_for(&self, bytes: u64) -> Result<(), SyncError> {
        self.staging.room_for(bytes, &self.target)
    }

    fn advance(&self, files: u64, bytes: usize) {
        let bytes = bytes as u64;
        let files = self.files.fetch_add(files, Ordering::Relaxed) + files;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.progress)(files, bytes);
    }
}

/// What failed on the host; where something is in the private directory already, by the guest's doing.
fn failed(guest: PathBuf, host: PathBuf) -> impl FnOnce(io::Error) -> SyncError {
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => {
            SyncError::Refused { path: guest, reason: "the same name came twice" }
        }
        _ => SyncError::Unwritable { path: host, source },
    }
}

/// Reads at an offset; less than `length` only at the end of the file.
async fn read_at(
    mut file: File,
    offset: u64,
    length: usize,
) -> Result<BytesMut, openssh_sftp_client::Error> {
    let mut content = BytesMut::new();
    while content.len() < length {
        // The client moves by what was asked for, not by what came.
        file.seek(SeekFrom::Start(offset + content.len() as u64)).await?;
        let wanted = length - content.len();
        let request = u32::try_from(wanted).unwrap_or(u32::MAX);
        match file.read(request, BytesMut::with_capacity(wanted)).await? {
            Some(part) if !part.is_empty() => content.unsplit(part),
            _ => break,
        }
    }
    Ok(content)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SyncError> + Send + 'static,
) -> Result<T, SyncError> {
    match spawn_blocking(work).await.map_err(tokio::task::JoinError::try_into_panic) {
        Ok(outcome) => outcome,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime is shutting down, and drops us next.
        Err(Err(_)) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
