//! Advisory file locks (`flock`): how processes that share nothing else agree who owns what.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;

/// How long a lock may be held by a child that is being started, in ms; on a busy host it takes a
/// while to get there.
const PATIENCE_MS: usize = 50;

/// A held lock. Dropping it, or dying, releases it; the file stays.
#[must_use = "the lock is released when this is dropped"]
#[derive(Debug)]
pub struct FileLock {
    file: fs::File,
    path: Utf8PathBuf,
}

impl FileLock {
    /// Takes the lock exclusively, or returns `None` where somebody else holds it.
    ///
    /// # Errors
    /// Where the file cannot be opened or created, or the filesystem has no locks.
    pub fn try_exclusive(path: &Utf8Path) -> io::Result<Option<Self>> {
        Self::attempt(path, std::fs::File::try_lock)
    }

    /// Takes the lock exclusively, or returns `None` where somebody else holds it for more than a
    /// moment: between its fork and its exec a child has copies of all its parent's locks.
    ///
    /// # Errors
    /// As [`FileLock::try_exclusive`].
    pub(crate) fn try_exclusive_patiently(path: &Utf8Path) -> io::Result<Option<Self>> {
        for _ in 0..PATIENCE_MS {
            if let Some(lock) = Self::try_exclusive(path)? {
                return Ok(Some(lock));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Self::try_exclusive(path)
    }

    /// Takes the lock shared, or returns `None` where somebody holds it exclusively.
    ///
    /// # Errors
    /// As [`FileLock::try_exclusive`].
    pub fn try_shared(path: &Utf8Path) -> io::Result<Option<Self>> {
        Self::attempt(path, std::fs::File::try_lock_shared)
    }

    /// Takes the lock exclusively and waits here, for locks that are only ever held for a moment.
    ///
    /// # Errors
    /// As [`FileLock::try_exclusive`].
    pub fn exclusive_here(path: &Utf8Path) -> io::Result<Self> {
        let this = Self::open(path)?;
        this.file.file().lock()?;
        Ok(this)
    }

    /// Takes the lock exclusively and waits for as long as that takes, off the async threads.
    ///
    /// # Errors
    /// As [`FileLock::try_exclusive`].
    pub async fn exclusive(path: &Utf8Path) -> io::Result<Self> {
        Self::wait(path, std::fs::File::lock).await
    }

    /// Takes the lock shared and waits for as long as that takes, off the async threads.
    ///
    /// # Errors
    /// As [`FileLock::try_exclusive`].
    pub async fn shared(path: &Utf8Path) -> io::Result<Self> {
        Self::wait(path, std::fs::File::lock_shared).await
    }

    /// The locked file's path.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The locked file, for handing the lock on to a child.
    #[must_use]
    pub fn file(&self) -> &std::fs::File {
        self.file.file()
    }

    /// Whether the path still leads to the locked file, which somebody may have removed or replaced
    /// between our opening and our locking it.
    pub(crate) fn is_current(&self) -> bool {
        let same = |held: std::fs::Metadata, found: std::fs::Metadata| {
            (held.dev(), held.ino()) == (found.dev(), found.ino())
        };
        let (held, found) = (self.file.metadata(), fs::metadata(&self.path));
        held.ok().zip(found.ok()).is_some_and(|(held, found)| same(held, found))
    }

    fn open(path: &Utf8Path) -> io::Result<Self> {
        // Whoever can open it, if only to read, can hold it.
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(path)?;
        Ok(Self { file, path: path.to_owned() })
    }

    fn attempt(
        path: &Utf8Path,
        lock: impl Fn(&std::fs::File) -> Result<(), std::fs::TryLockError>,
    ) -> io::Result<Option<Self>> {
        let this = Self::open(path)?;
        match lock(this.file.file()) {
            Ok(()) => Ok(Some(this)),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }

    async fn wait(
        path: &Utf8Path,
        lock: impl Fn(&std::fs::File) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let this = Self::open(path)?;
        tokio::task::spawn_blocking(move || lock(this.file.file()).map(|()| this))
            .await
            .map_err(io::Error::other)?
    }
}
