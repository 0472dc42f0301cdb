//! Carries out a [`Plan`] over SFTP. What to do was decided before; nothing is compared here.
//!
//! Times: SFTP version 3 has whole seconds, so that is what the guest gets. A mirror that was
//! there before may have been built from, also while the user went on editing; a file that
//! arrives in it with its older host time would look to cargo as if that build had seen it. So
//! only a fresh mirror gets the host's times; what arrives later is stamped with its arrival.

use std::ffi::OsString;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::try_join;
use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};
use openssh_sftp_client::Sftp;
use openssh_sftp_client::file::File;
use tokio::io::AsyncSeekExt as _;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::Receiver;

use super::error::{SyncError, is_denied};
use super::manifest::Timestamp;
use super::outbox::{self, Body, Chunk, Outgoing};
use super::plan::{Plan, Target, Upload, depth};
use super::{Session, guest};

/// Files under way at once.
const FILES: usize = 128;
/// Long files under way at once, and chunks of each: they bound the memory in use.
const LONG_FILES: usize = 4;
const CHUNKS: usize = 16;

/// What a push did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Files sent.
    pub files: u64,
    /// Bytes of content sent.
    pub bytes: u64,
    /// Where the host's files turned out other than the scan saw them; for
    /// [`Manifest::amend`](super::Manifest::amend).
    pub corrections: Vec<Correction>,
}

/// A file that changed between scan and push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correction {
    /// This was sent instead.
    Changed {
        /// The relative path.
        path: OsString,
        /// How many bytes were sent.
        size: u64,
        /// Their hash.
        hash: [u8; 32],
    },
    /// It was gone, and is gone from the mirror too.
    Vanished {
        /// The relative path.
        path: OsString,
    },
}

/// Brings the mirror at `guest_root` to the state that the plan leads to.
///
/// `progress` hears how many files and bytes were sent so far. Dropping the future leaves the
/// mirror between two states; see [`Manifest::interim`](super::Manifest::interim).
///
/// # Errors
/// Where a host file cannot be read, the guest refuses, or gives no answer for 30 s; the mirror is then
/// between two states.
pub async fn push(
    session: &Session,
    host_root: &Path,
    guest_root: &Path,
    plan: &Plan,
    progress: impl Fn(u64, u64) + Send + Sync,
) -> Result<Sent, SyncError> {
    check_names(plan)?;
    session.guarded(send_all(session, host_root, guest_root, plan, progress)).await
}

async fn send_all(
    sftp: &Sftp,
    host_root: &Path,
    guest_root: &Path,
    plan: &Plan,
    progress: impl Fn(u64, u64) + Send + Sync,
) -> Result<Sent, SyncError> {
    let push = Push {
        sftp,
        host_root,
        guest_root,
        plan,
        arrival: Timestamp::now().whole_seconds(),
        long_files: Semaphore::new(LONG_FILES),
        files: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        corrections: Mutex::new(Vec::new()),
        progress,
    };
    match push.run().await {
        Ok(()) => Ok(Sent {
            files: push.files.into_inner(),
            bytes: push.bytes.into_inner(),
            corrections: push.corrections.into_inner().unwrap_or_default(),
        }),
        Err(SyncError::Guest { path, .. }) if is_full(sftp, guest_root).await => {
            Err(SyncError::GuestFull { path })
        }
        Err(error) => Err(error),
    }
}

struct Push<'a, P> {
    sftp: &'a Sftp,
    host_root: &'a Path,
    guest_root: &'a Path,
    plan: &'a Plan,
    /// The time given to what arrives in a mirror that was there before, in seconds.
    arrival: u32,
    long_files: Semaphore,
    files: AtomicU64,
    bytes: AtomicU64,
    corrections: Mutex<Vec<Correction>>,
    progress: P,
}

impl<P: Fn(u64, u64) + Send + Sync> Push<'_, P> {
    async fn run(&self) -> Result<(), SyncError> {
        if self.plan.is_fresh() {
            guest::make_directories(self.sftp, self.guest_root).await?;
            guest::clear(self.sftp, self.guest_root).await?;
        }
        self.delete().await?;
        for level in levels(self.plan.directories(), |path| depth(path)) {
            let level = &level;
            guest::each(level.len(), |at| async move {
                guest::make_directory(self.sftp, &self.guest_path(level[at])).await
            })
            .await?;
        }
        guest::each(self.plan.symlinks().len(), |at| async move {
            let (path, target) = &self.plan.symlinks()[at];
            guest::make_symlink(self.sftp, Path::new(target), &self.guest_path(path)).await
        })
        .await?;
        self.upload().await?;
        guest::each(self.plan.metadata().len(), |at| async move {
            let change = &self.plan.metadata()[at];
            let path = self.guest_path(&change.path);
            let seconds = change.mtime.map(Timestamp::whole_seconds);
            guest::set_metadata(self.sftp, &path, change.mode, seconds).await
        })
        .await
    }

    async fn delete(&self) -> Result<(), SyncError> {
        let (files, trees): (Vec<_>, Vec<_>) =
            self.plan.deletions().iter().partition(|deletion| deletion.target == Target::File);
        let mut levels = levels(&trees, |deletion| depth(&deletion.path));
        levels.reverse();
        levels.insert(0, files.iter().collect());
        for level in levels {
            let level = &level;
            guest::each(level.len(), |at| async move {
                let path = self.guest_path(&level[at].path);
                guest::remove(self.sftp, &path, level[at].target).await
            })
            .await?;
        }
        Ok(())
    }

    async fn upload(&self) -> Result<(), SyncError> {
        if self.plan.uploads().is_empty() {
            return Ok(());
        }
        received(outbox::read_ahead(self.host_root, self.plan.uploads()))
            .map(|item| async move { self.send(item?).await })
            .buffer_unordered(FILES)
            .try_collect::<()>()
            .await
    }

    async fn send(&self, outgoing: Outgoing) -> Result<(), SyncError> {
        let upload = &self.plan.uploads()[outgoing.index];
        let path = self.guest_path(&upload.path);
        let (size, hash) = match outgoing.body {
            Body::Vanished => return self.vanished(upload, &path).await,
            Body::Whole { content, hash } => {
                let length = content.len();
                self.send_whole(upload, &path, content).await?;
                self.advance(0, length);
                (length as u64, hash)
            }
            Body::Long(file) => self.send_long(upload, &path, file).await?,
        };
        self.advance(1, 0);
        if (size, hash) != (upload.size, upload.hash) {
            self.correct(Correction::Changed { path: upload.path.clone(), size, hash });
        }
        Ok(())
    }

    async fn send_whole(
        &self,
        upload: &Upload,
        path: &Path,
        content: Vec<u8>,
    ) -> Result<(), SyncError> {
        let failed = |error| SyncError::guest("write", path, error);
        let mut file = self.create(path).await?;
        let mut same = file.clone();
        // The server works in order, so the mode and time land after the content all the same.
        let written = async move { write(&mut file, content).await };
        try_join(written, same.set_metadata(self.attributes(upload))).await.map_err(failed)?;
        same.close().await.map_err(failed)
    }

    async fn send_long(
        &self,
        upload: &Upload,
        path: &Path,
        source: std::fs::File,
    ) -> Result<(u64, [u8; 32]), SyncError> {
        let _turn = self.long_files.acquire().await.expect("the semaphore is never closed");
        let host = self.host_root.join(&upload.path);
        let failed = |error| SyncError::guest("write", path, error);
        let mut file = self.create(path).await?;
        let end = Mutex::new(None);
        received(outbox::chunks(source))
            .map(|chunk| async {
                match chunk.map_err(SyncError::unreadable(&host))? {
                    Chunk::End { size, hash } => {
                        *end.lock().expect(UNPOISONED) = Some((size, hash))
                    }
                    Chunk::Part { offset, content } => {
                        let length = content.len();
                        write_at(file.clone(), offset, content).await.map_err(failed)?;
                        self.advance(0, length);
                    }
                }
                Ok::<_, SyncError>(())
            })
            .buffer_unordered(CHUNKS)
            .try_collect::<()>()
            .await?;
        file.set_metadata(self.attributes(upload)).await.map_err(failed)?;
        file.close().await.map_err(failed)?;
        let end = end.into_inner().expect(UNPOISONED);
        Ok(end.expect("the reader ends with the end or with an error"))
    }

    /// Opens the guest's file for writing, empty.
    async fn create(&self, path: &Path) -> Result<File, SyncError> {
        let mut outcome = self.sftp.create(path).await;
        if !self.plan.is_fresh() && outcome.as_ref().is_err_and(is_denied) {
            // A read-only file: nobody but root may write to it, but its owner may replace it.
            guest::remove(self.sftp, path, Target::File).await?;
            outcome = self.sftp.create(path).await;
        }
        outcome.map_err(|error| SyncError::guest("create", path, error))
    }

    async fn vanished(&self, upload: &Upload, path: &Path) -> Result<(), SyncError> {
        guest::remove(self.sftp, path, Target::File).await?;
        self.correct(Correction::Vanished { path: upload.path.clone() });
        Ok(())
    }

    fn attributes(&self, upload: &Upload) -> openssh_sftp_client::metadata::MetaData {
        let own = upload.mtime.whole_seconds();
        let seconds = if self.plan.is_fresh() { own } else { own.max(self.arrival) };
        guest::attributes(upload.mode, Some(seconds))
    }

    fn guest_path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.guest_root.join(path)
    }

    fn correct(&self, correction: Correction) {
        self.corrections.lock().expect(UNPOISONED).push(correction);
    }

    fn advance(&self, files: u64, bytes: usize) {
        let bytes = bytes as u64;
        let files = self.files.fetch_add(files, Ordering::Relaxed) + files;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.progress)(files, bytes);
    }
}

const UNPOISONED: &str = "nothing panics while it is held";

async fn write_at(
    mut file: File,
    offset: u64,
    content: Vec<u8>,
) -> Result<(), openssh_sftp_client::Error> {
    file.seek(SeekFrom::Start(offset)).await?;
    write(&mut file, content).await
}

/// Hands content over without copying: the client's copying write goes byte by byte.
async fn write(file: &mut File, content: Vec<u8>) -> Result<(), openssh_sftp_client::Error> {
    if content.is_empty() {
        return Ok(());
    }
    file.write_all_zero_copy(&mut [Bytes::from(content)]).await
}

/// The client writes paths as text; say so before anything is changed.
fn check_names(plan: &Plan) -> Result<(), SyncError> {
    let mut names = (plan.deletions().iter().map(|deletion| &deletion.path))
        .chain(plan.directories())
        .chain(plan.symlinks().iter().flat_map(|(path, target)| [path, target]))
        .chain(plan.uploads().iter().map(|upload| &upload.path))
        .chain(plan.metadata().iter().map(|change| &change.path));
    match names.find(|name| name.to_str().is_none()) {
        Some(name) => Err(SyncError::NotUtf8 { path: name.into() }),
        None => Ok(()),
    }
}

/// Sorts items into levels by depth, lowest first.
fn levels<T>(items: &[T], depth: impl Fn(&T) -> usize) -> Vec<Vec<&T>> {
    let mut levels: Vec<Vec<&T>> = Vec::new();
    for item in items {
        let depth = depth(item);
        if levels.len() <= depth {
            levels.resize_with(depth + 1, Vec::new);
        }
        levels[depth].push(item);
    }
    levels
}

fn received<T>(receiver: Receiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
}

/// Whether the guest's disk has next to nothing left: the protocol itself says only "Failure".
async fn is_full(sftp: &Sftp, path: &Path) -> bool {
    const NEXT_TO_NOTHING: u64 = 1 << 20;
    if !sftp.support_statvfs() {
        return false;
    }
    sftp.fs().statvfs(path).await.is_ok_and(|disk| {
        let no_space = disk.bavail.saturating_mul(disk.frsize) < NEXT_TO_NOTHING;
        no_space || (disk.files > 0 && disk.favail == 0)
    })
}

#[cfg(test)]
mod tests;
