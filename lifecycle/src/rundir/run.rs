//! One VM's directory: whoever holds its lock owns the VM.

use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::io::FdFlags;
use rustix::process::{Pid, getuid};

use super::{FileLock, Layout, Record, private};
use crate::process::real_user;
use crate::spec::VmName;

/// The file locked while run directories appear and disappear.
const GUARD: &str = ".lock";

/// How the names of directories begin that are being removed: no VM's name begins so.
const GOING: &str = ".going-";

/// How many generated names are tried before giving up.
const NAME_ATTEMPTS: usize = 64;

/// Why a VM could not get a directory of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunDirError {
    /// A VM of that name runs.
    #[error("a VM named `{0}` exists already")]
    NameTaken(VmName),
    /// No generated name was free.
    #[error("no free name among {NAME_ATTEMPTS} generated ones")]
    NoFreeName,
    /// The directory could not be made.
    #[error("cannot make the run directory")]
    Io(#[from] io::Error),
}

impl RunDirError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NameTaken(name) => Some(format!(
                "`cargo banger shell {name}` enters it, `cargo banger stop {name}` removes it"
            )),
            Self::NoFreeName => Some("`cargo banger ps` lists what runs".to_owned()),
            Self::Io(_) => None,
        }
    }
}

/// A run directory that we own. Dropping it removes the directory, unless it was told to stay.
#[must_use = "dropping the run directory removes it"]
#[derive(Debug)]
pub struct RunDir {
    path: Utf8PathBuf,
    name: VmName,
    layout: Layout,
    /// Held for as long as the VM is ours.
    lock: FileLock,
    stays: bool,
}

impl RunDir {
    /// Makes the directory of a new VM, under the given name or a generated one.
    ///
    /// # Errors
    /// Where the name is taken, or the directory cannot be made.
    pub async fn create(layout: &Layout, name: Option<&VmName>) -> Result<Self, RunDirError> {
        private::create_dir_all(&layout.runs())?;
        // Between its making and its locking a directory looks like a dead one's: keep sweeps out.
        let _turn = FileLock::exclusive(&guard_path(layout)).await?;
        if let Some(name) = name {
            return Self::claim(layout, name)?.ok_or_else(|| RunDirError::NameTaken(name.clone()));
        }
        for _ in 0..NAME_ATTEMPTS {
            let generated = petname::petname(2, "-").and_then(|name| name.parse().ok());
            if let Some(name) = generated
                && let Some(run_dir) = Self::claim(layout, &name)?
            {
                return Ok(run_dir);
            }
        }
        Err(RunDirError::NoFreeName)
    }

    /// Makes and locks the directory, unless it is there.
    fn claim(layout: &Layout, name: &VmName) -> io::Result<Option<Self>> {
        let path = layout.runs().join(name.as_str());
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            made => made?,
        }
        let lock = FileLock::try_exclusive(&path.join("lock"))?
            .ok_or_else(|| io::Error::other("somebody locked a directory that was not there"))?;
        write!(lock.file(), "{}", std::process::id())?;
        let (name, layout) = (name.clone(), layout.clone());
        Ok(Some(Self { path, name, layout, lock, stays: false }))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The VM's name.
    #[must_use]
    pub fn name(&self) -> &VmName {
        &self.name
    }

    /// A short name for what the VM has elsewhere on this host: eight hexadecimal digits, others for
    /// each directory.
    #[must_use]
    pub fn handle(&self) -> String {
        handle_of(&self.path)
    }

    /// Has a command hold the lock too: the VM is not dead before it has ended, so that no sweep
    /// comes in between where we are killed.
    pub(crate) fn held_by<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let lock = self.lock.file().as_raw_fd();
        let inherit = move || {
            // SAFETY: the child has a descriptor of that number, as the fork copied it.
            let lock = unsafe { BorrowedFd::borrow_raw(lock) };
            Ok(rustix::io::fcntl_setfd(lock, FdFlags::empty())?)
        };
        // SAFETY: between fork and exec only fcntl runs, which is async-signal-safe.
        unsafe { command.pre_exec(inherit) }
    }

    /// Leaves the directory where it is when this is dropped.
    pub fn stay(&mut self) {
        self.stays = true;
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // What could not be removed elsewhere is removed by who finds the record.
        let record = || Record::read(&self.layout, &self.path).ok().flatten();
        let outside = || record().is_some_and(|record| record.meta.is_outside());
        if self.stays || outside() {
            return;
        }
        // Nobody must find it half removed. Not by the guard, which others in this process may wait
        // to hold: they would wait for us in turn.
        let going = going(&self.path);
        let removed = fs::rename(&self.path, &going).and_then(|()| fs::remove_dir_all(&going));
        if let Err(error) = removed {
            tracing::warn!(%error, "a run directory stays");
        }
    }
}

/// What a directory is called while this process removes it.
fn going(run_dir: &Utf8Path) -> Utf8PathBuf {
    let name = run_dir.file_name().unwrap_or_default();
    run_dir.with_file_name(format!("{GOING}{}-{name}", std::process::id()))
}

/// Whether that is the name of one which nobody removes any more.
pub(crate) fn is_left_going(name: &str) -> bool {
    let process = name.strip_prefix(GOING).and_then(|rest| rest.split_once('-')?.0.parse().ok());
    process.and_then(Pid::from_raw).is_some_and(is_gone)
}

/// Another user's process that has got the number since is not the one that we mean.
fn is_gone(process: Pid) -> bool {
    real_user(process).is_none_or(|user| user != getuid().as_raw())
}

/// Whether the process that made a directory is known to be gone. Its lock may still be held then, for a
/// moment: by a child that is being started, or by a tool at work.
pub(crate) fn is_orphaned(run_dir: &Utf8Path) -> bool {
    let owner = fs::read_to_string(run_dir.join("lock")).ok().and_then(|text| text.parse().ok());
    let owner = owner.and_then(Pid::from_raw);
    owner.is_some_and(is_gone)
}

/// The [handle](RunDir::handle) of the VM that has a directory.
pub(crate) fn handle_of(run_dir: &Utf8Path) -> String {
    blake3::hash(run_dir.as_str().as_bytes()).to_hex()[..8].to_owned()
}

/// The lock under which run directories appear and disappear.
pub(crate) fn guard_path(layout: &Layout) -> Utf8PathBuf {
    layout.runs().join(GUARD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
        (dir, layout)
    }

    #[tokio::test]
    async fn a_name_is_taken_until_its_owner_is_gone() {
        let (_dir, layout) = layout();
        let name: VmName = "one".parse().unwrap();
        let first = RunDir::create(&layout, Some(&name)).await.unwrap();
        let error = RunDir::create(&layout, Some(&name)).await.unwrap_err();
        assert!(error.to_string().contains("`one`"), "{error}");
        drop(first);
        let again = RunDir::create(&layout, Some(&name)).await.unwrap();
        assert!(again.path().is_dir());
    }

    #[tokio::test]
    async fn a_directory_goes_while_another_is_waited_for() {
        let (_dir, layout) = layout();
        let run = RunDir::create(&layout, None).await.unwrap();
        // Held by who does not get to run before we have gone.
        let turn = FileLock::exclusive(&guard_path(&layout)).await.unwrap();
        let path = run.path().to_owned();
        drop(run);
        assert!(!path.exists());
        drop(turn);
    }

    #[tokio::test]
    async fn generated_names_are_valid_and_differ() {
        let (_dir, layout) = layout();
        let one = RunDir::create(&layout, None).await.unwrap();
        let two = RunDir::create(&layout, None).await.unwrap();
        assert_ne!(one.name(), two.name());
    }

    #[tokio::test]
    async fn who_is_alive_leaves_no_orphan() {
        let (_dir, layout) = layout();
        let run = RunDir::create(&layout, None).await.unwrap();
        assert!(!is_orphaned(run.path()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        fs::write(run.path().join("lock"), child.id().to_string()).unwrap();
        assert!(is_orphaned(run.path()));
    }
}
