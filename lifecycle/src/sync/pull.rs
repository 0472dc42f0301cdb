//! Brings a file or a directory tree from the guest to the host.
//!
//! The guest is not trusted: its names must be plain, set-id bits stay behind, and nothing is
//! written outside the target; see `staging` for how.

use std::ffi::OsStr;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use openssh_sftp_client::file::File;
use openssh_sftp_client::metadata::MetaData;
use openssh_sftp_client::{Sftp, UnixTimeStamp};
use tokio::io::AsyncSeekExt as _;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::error::{SyncError, is_missing};
use super::guest;
use super::outbox::CHUNK;
use super::staging::{self, Finish, Staging};

/// Long files under way at once, and chunks of each: they bound the memory in use.
const LONG_FILES: usize = 4;
const CHUNKS: usize = 16;

/// What a pull brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Files fetched.
    pub files: u64,
    /// Bytes of content fetched.
    pub bytes: u64,
    /// Guest paths of sockets, pipes and devices, which do not travel.
    pub skipped: Vec<PathBuf>,
}

/// Fetches `guest` to `host`, as `cp -a` would: into `host` if that is a directory, under the
/// guest path's last name; else to that very path, with the directories above it made.
///
/// Modes and times (in whole seconds) are kept, links are fetched as links. Directories that are
/// on both sides become one. Everything is fetched beside the target first and moved in at the
/// end: a pull that fails, or whose future is dropped, leaves what was there as it was.
///
/// # Errors
/// Where there is no such guest path, the guest refuses or offers names that lead elsewhere, or
/// the host cannot be written.
pub async fn pull(
    sftp: &Sftp,
    guest: &Path,
    host: &Path,
    progress: impl Fn(u64, u64) + Send + Sync,
) -> Result<Fetched, SyncError> {
    let metadata = match sftp.fs().symlink_metadata(guest).await {
        Ok(metadata) => metadata,
        Err(error) if is_missing(&error) => {
            return Err(SyncError::Missing { path: guest.to_owned() });
        }
        Err(error) => return Err(SyncError::guest("find", guest, error)),
    };
    let target = target(guest, host)?;
    let staging = blocking(move || Staging::new(target)).await?;
    let pull = Pull {
        sftp,
        guest,
        top: staging.top(),
        long_files: Semaphore::new(LONG_FILES),
        files: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        progress,
    };
    let tree = pull.list(metadata).await?;
    pull.fetch(&tree).await?;
    let fetched = Fetched {
        files: pull.files.into_inner(),
        bytes: pull.bytes.into_inner(),
        skipped: tree.skipped,
    };
    let directories = tree.directories;
    blocking(move || staging.install(&directories)).await?;
    Ok(fetched)
}

/// What there is to fetch, by path relative to the top; the top's own path is empty.
#[derive(Default)]
struct Tree {
    /// Parents first.
    directories: Vec<(PathBuf, Finish)>,
    files: Vec<(PathBuf, u64, Finish)>,
    symlinks: Vec<PathBuf>,
    skipped: Vec<PathBuf>,
}

impl Tree {
    fn add(&mut self, path: PathBuf, guest: &Path, metadata: &MetaData) {
        let finish = Finish {
            // A server that gives no mode gets the usual one.
            mode: metadata.permissions().map_or(0o644, |mode| mode.as_raw().bits()),
            seconds: metadata.modified().map(UnixTimeStamp::into_raw),
        };
        match metadata.file_type() {
            Some(kind) if kind.is_dir() => self.directories.push((path, finish)),
            Some(kind) if kind.is_file() => {
                self.files.push((path, metadata.len().unwrap_or(0), finish));
            }
            Some(kind) if kind.is_symlink() => self.symlinks.push(path),
            _ => {
                let path = join(guest, &path);
                tracing::debug!(path = %path.display(), "not a file, directory or link: not fetched");
                self.skipped.push(path);
            }
        }
    }
}

struct Pull<'a, P> {
    sftp: &'a Sftp,
    guest: &'a Path,
    top: PathBuf,
    long_files: Semaphore,
    files: AtomicU64,
    bytes: AtomicU64,
    progress: P,
}

impl<P: Fn(u64, u64) + Send + Sync> Pull<'_, P> {
    /// Lists the whole tree, level by level.
    async fn list(&self, metadata: MetaData) -> Result<Tree, SyncError> {
        let mut tree = Tree::default();
        tree.add(PathBuf::new(), self.guest, &metadata);
        let mut listed = 0;
        while listed < tree.directories.len() {
            let level: Vec<PathBuf> =
                tree.directories[listed..].iter().map(|(path, _)| path.clone()).collect();
            listed = tree.directories.len();
            let mut lists = stream::iter(level)
                .map(|path| async move {
                    let entries = guest::list(self.sftp, &join(self.guest, &path)).await?;
                    Ok::<_, SyncError>((path, entries))
                })
                .buffered(guest::IN_FLIGHT);
            while let Some((path, entries)) = lists.try_next().await? {
                for entry in entries {
                    tree.add(path.join(&entry.name), self.guest, &entry.metadata);
                }
            }
        }
        Ok(tree)
    }

    async fn fetch(&self, tree: &Tree) -> Result<(), SyncError> {
        let directories: Vec<PathBuf> =
            tree.directories.iter().map(|(path, _)| join(&self.top, path)).collect();
        blocking(move || {
            directories.iter().try_for_each(|path| {
                staging::make_directory(path).map_err(SyncError::unwritable(path))
            })
        })
        .await?;
        guest::each(tree.files.len(), |at| async move {
            let (path, size, finish) = &tree.files[at];
            self.fetch_file(path, *size, *finish).await?;
            self.advance(1, 0);
            Ok(())
        })
        .await?;
        // Last: see `staging`.
        guest::each(tree.symlinks.len(), |at| self.fetch_symlink(&tree.symlinks[at])).await
    }

    async fn fetch_symlink(&self, path: &Path) -> Result<(), SyncError> {
        let from = join(self.guest, path);
        let target = self.sftp.fs().read_link(&from).await;
        let target = target.map_err(|error| SyncError::guest("read link", &from, error))?;
        let to = join(&self.top, path);
        std::os::unix::fs::symlink(target, &to).map_err(SyncError::unwritable(&to))
    }

    async fn fetch_file(&self, path: &Path, size: u64, finish: Finish) -> Result<(), SyncError> {
        let (from, to) = (join(self.guest, path), join(&self.top, path));
        let failed = |error| SyncError::guest("read", &from, error);
        let source = self.sftp.open(&from).await.map_err(failed)?;
        // A kernel file says that it is empty, and is not.
        if size == 0 {
            return self.fetch_to_end(&source, &from, to, finish).await;
        }
        if size > CHUNK as u64 {
            return self.fetch_long(&source, &from, to, size, finish).await;
        }
        let length = usize::try_from(size).expect("it is at most a chunk");
        let content = read_at(source.clone(), 0, length).await.map_err(failed)?;
        source.close().await.map_err(failed)?;
        self.advance(0, content.len());
        on_host(to, move |path| {
            let file = staging::create(path)?;
            staging::write_at(&file, 0, &content)?;
            staging::finish(&file, finish)
        })
        .await
    }

    async fn fetch_to_end(
        &self,
        source: &File,
        from: &Path,
        to: PathBuf,
        finish: Finish,
    ) -> Result<(), SyncError> {
        let file = Arc::new(on_host(to.clone(), staging::create).await?);
        let mut offset = 0;
        loop {
            let content = read_at(source.clone(), offset, CHUNK).await;
            let content = content.map_err(|error| SyncError::guest("read", from, error))?;
            if content.is_empty() {
                return on_host(to, move |_| staging::finish(&file, finish)).await;
            }
            let (file, at, length) = (file.clone(), offset, content.len());
            on_host(to.clone(), move |_| staging::write_at(&file, at, &content)).await?;
            offset += length as u64;
            self.advance(0, length);
        }
    }

    async fn fetch_long(
        &self,
        source: &File,
        from: &Path,
        to: PathBuf,
        size: u64,
        finish: Finish,
    ) -> Result<(), SyncError> {
        let _turn = self.long_files.acquire().await.expect("the semaphore is never closed");
        let file = Arc::new(on_host(to.clone(), staging::create).await?);
        let starts = (0..size).step_by(CHUNK);
        stream::iter(starts)
            .map(|offset| {
                let (file, to) = (file.clone(), to.clone());
                async move {
                    let length = usize::try_from(size - offset).unwrap_or(CHUNK).min(CHUNK);
                    let content = read_at(source.clone(), offset, length).await;
                    let content = content.map_err(|error| SyncError::guest("read", from, error))?;
                    self.advance(0, content.len());
                    on_host(to, move |_| staging::write_at(&file, offset, &content)).await
                }
            })
            .buffer_unordered(CHUNKS)
            .try_collect::<()>()
            .await?;
        on_host(to, move |_| staging::finish(&file, finish)).await
    }

    fn advance(&self, files: u64, bytes: usize) {
        let bytes = bytes as u64;
        let files = self.files.fetch_add(files, Ordering::Relaxed) + files;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.progress)(files, bytes);
    }
}

/// The path to write to.
fn target(guest: &Path, host: &Path) -> Result<PathBuf, SyncError> {
    if !host.is_dir() {
        return Ok(host.to_owned());
    }
    match guest.file_name() {
        Some(name) => Ok(host.join(name)),
        None => Err(SyncError::InTheWay {
            path: host.to_owned(),
            found: "a directory",
            wanted: "a tree without a name",
        }),
    }
}

/// As [`Path::join`], but joining nothing adds no slash: with one, a link would be followed.
fn join(top: &Path, path: &Path) -> PathBuf {
    if path.as_os_str() == OsStr::new("") { top.to_owned() } else { top.join(path) }
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

async fn on_host<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
) -> Result<T, SyncError> {
    blocking(move || work(&path).map_err(SyncError::unwritable(&path))).await
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
