//! The disks that keep one workspace warm: its sources as last synced, and what was built of them.
//!
//! ```text
//! blank ◄── sources-1 ◄── sources-2 ◄── run-a.sources      each a qcow2 overlay on the one before;
//!               (never written again)  └ run-b.sources      each run has private tops
//! blank ◄── build-1 ◄── build-2 ◄── run-a.build
//! ```
//!
//! A guest's commands are root and can write to any of its disks, so the two are kept apart by when
//! they become generations. The sources' top is [sealed](WorkspaceDisk::seal) after the sync and
//! before any command runs; what is written afterwards goes to another top, which is thrown away. The
//! top with what was built is [committed](WorkspaceDisk::commit) at the end, with whatever a command
//! has done to it: it can spoil what later runs build, and is [dropped](WorkspaceDisk::start_over)
//! where a guest cannot use it.
//!
//! A generation appears by a rename, so a run killed at any moment changes nothing, and runs side by
//! side share all that is warm. Of two runs that started from the same generation, the first wins.

mod blank_filesystem;
mod head;
mod pair;
mod place;
mod tidy;
mod trim;

pub(crate) use pair::WorkspaceDisks;
pub(crate) use place::{Part, Place};
pub use trim::{DISK_BUDGET, trim_disks};

use std::io;
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::rand::{GetRandomFlags, getrandom};

use self::head::Head;
use self::tidy::tidy;
use super::{DiskFormat, OverlayError, blank, qcow2, raw};
use crate::process::unless_gone;
use crate::rundir::{FileLock, Layout, private};

/// What of a top's growth is only the filesystem's own bookkeeping, in bytes.
const BOOKKEEPING: u64 = 3 << 20;

/// One of a workspace's disks, as one run has it: a private top over the newest generation. Dropping
/// it removes what is private.
#[must_use = "dropping the disk removes it"]
#[derive(Debug)]
pub(crate) struct WorkspaceDisk {
    part: Part,
    place: Place,
    /// What the VM writes to.
    top: Utf8PathBuf,
    /// What is to become a generation: nothing writes to it any more.
    sealed: Option<Utf8PathBuf>,
    parent: Option<Head>,
    /// Held shared, so that no generation under us is removed. Last: outlives the top.
    _lease: FileLock,
}

impl WorkspaceDisk {
    /// Opens a private top over what the last run left.
    pub(crate) async fn open(place: &Place, part: Part) -> Result<Self, OverlayError> {
        let lease = lease(place.dir()).await?;
        let parent = Head::read(place.dir(), part);
        let top = place.top(part);
        let (place, sealed) = (place.clone(), None);
        let mut this = Self { part, place, top, sealed, parent, _lease: lease };
        match this.make_top().await {
            // What is under it cannot be read: a power cut, or a file that somebody removed.
            Err(error) if !this.is_fresh() && error.is_of_the_disk() => {
                tracing::warn!(%error, "a workspace disk is thrown away");
                this.start_over(true).await?;
            }
            made => made?,
        }
        Ok(this)
    }

    /// Begins anew with a private top: over nothing at all where `fresh`, with the generations that
    /// this one stood on forgotten, else over the newest one. The VM must have ended.
    pub(crate) async fn start_over(&mut self, fresh: bool) -> Result<(), OverlayError> {
        if fresh {
            self.forget().await?;
        }
        self.remove_own()?;
        self.parent = if fresh { None } else { Head::read(self.place.dir(), self.part) };
        (self.top, self.sealed) = (self.place.top(self.part), None);
        self.make_top().await
    }

    async fn make_top(&self) -> Result<(), OverlayError> {
        match (self.place.format(), self.newest()) {
            (DiskFormat::Raw, Some(newest)) => raw::copy(&newest, &self.top).await,
            (DiskFormat::Qcow2, Some(newest)) => {
                let blank = blank::top_of_size(self.place.layout(), self.place.size()).await?;
                blank::copy(&blank, &self.top)?;
                Ok(qcow2::stand_on(&self.top, &newest)?)
            }
            (format, None) => {
                let blank = blank_filesystem::ensure(&self.place).await?;
                match format {
                    DiskFormat::Raw => raw::copy(&blank, &self.top).await,
                    DiskFormat::Qcow2 => blank_filesystem::make_top(&self.top, &blank).await,
                }
            }
        }
    }

    /// The private top, for the VMM.
    pub(crate) fn top(&self) -> &Utf8Path {
        &self.top
    }

    /// The newest generation, under the top.
    pub(crate) fn newest(&self) -> Option<Utf8PathBuf> {
        Some(self.place.dir().join(self.parent.as_ref()?.newest()?))
    }

    /// Whether it stands on nothing that another run has written.
    pub(crate) fn is_fresh(&self) -> bool {
        self.parent.is_none()
    }

    /// Starts from what stands on the newest generation elsewhere: `overlay` is an empty top over
    /// that.
    pub(crate) fn start_from(&self, overlay: &Utf8Path) -> Result<(), OverlayError> {
        blank::copy(overlay, &self.top)
    }

    /// The manifest of what the disk holds of a root, if it holds anything.
    pub(crate) fn manifest(&self, root_key: &str) -> Option<Utf8PathBuf> {
        Some(self.place.dir().join(self.parent.as_ref()?.manifests.get(root_key)?))
    }

    /// Whether the run wrote anything worth keeping. Counts after the VMM has ended.
    pub(crate) fn dirty(&self) -> io::Result<bool> {
        let before = match (self.place.format(), self.newest()) {
            (DiskFormat::Raw, Some(newest)) => qcow2::allocated(&newest)?,
            _ => 0,
        };
        Ok(qcow2::allocated(&self.top)?.abs_diff(before) > BOOKKEEPING)
    }

    /// Forgets the generations that this one stands on: a guest could not use them. One that another
    /// run has made since stays.
    pub(crate) async fn forget(&self) -> io::Result<()> {
        let _turn = FileLock::exclusive(&self.place.commit_lock()).await?;
        if Head::read(self.place.dir(), self.part) == self.parent {
            Head::remove(self.place.dir(), self.part)?;
        }
        Ok(())
    }

    /// Whether what this run writes could become a generation: no other run has made one since.
    pub(crate) fn is_newest(&self) -> bool {
        Head::read(self.place.dir(), self.part) == self.parent
    }

    /// Seals what the VM has written so far: `cover` is to have a VMM that can write to another file
    /// from now on, which is given; a VMM that cannot has its file copied. The guest must have
    /// written its filesystem out, and nothing in it write to that.
    pub(crate) async fn seal<E: From<OverlayError>>(
        &mut self,
        cover: impl AsyncFnOnce(&Utf8Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let second = self.place.second_top(self.part);
        match self.place.format() {
            DiskFormat::Qcow2 => {
                let blank = blank::of_size(self.place.layout(), self.place.size()).await?;
                blank::copy(&blank, &second)?;
                cover(&second).await?;
                self.sealed = Some(std::mem::replace(&mut self.top, second));
            }
            DiskFormat::Raw => {
                raw::copy(&self.top, &second).await?;
                self.sealed = Some(second);
            }
        }
        Ok(())
    }

    /// Makes what was sealed the newest generation, with the manifests of what it holds.
    ///
    /// `save` writes one manifest per root key to the path it is given. Returns whether it was
    /// kept: not if another run has made a newer generation meanwhile.
    pub(crate) async fn publish(
        &mut self,
        roots: &[String],
        save: impl Fn(&str, &Utf8Path) -> io::Result<()>,
    ) -> Result<bool, OverlayError> {
        let dir = self.place.dir();
        let _turn = FileLock::exclusive(&self.place.commit_lock()).await?;
        let current = Head::read(dir, self.part);
        if current != self.parent {
            return Ok(false);
        }
        let Some(sealed) = self.sealed.take() else { return Ok(false) };
        let mut head = current.unwrap_or_default();
        (head.format, head.workspace) = (Head::FORMAT, self.place.workspace().to_owned());
        head.id += 1;
        // What the head names must be on disk before the head is: a power cut must not leave a
        // manifest that claims more than the disk holds.
        fs::File::open(&sealed)?.sync_data()?;
        let disk = generation_name(self.part, head.id)?;
        fs::rename(&sealed, dir.join(&disk))?;
        if self.place.format() == DiskFormat::Raw {
            // It stands on nothing.
            head.chain.clear();
        }
        for root in roots {
            let manifest = format!("manifest-{disk}-{root}");
            save(root, &dir.join(&manifest))?;
            head.manifests.insert(root.clone(), manifest);
        }
        head.chain.push(disk);
        head.write(dir, self.part)?;
        self.parent = Some(head);
        Ok(true)
    }

    /// Makes this run's top the newest generation, as it is. The VM must have ended. Returns whether it
    /// was kept: not if another run has made a newer generation meanwhile.
    pub(crate) async fn commit(mut self) -> Result<bool, OverlayError> {
        self.sealed = Some(self.top.clone());
        self.publish(&[], |_, _| Ok(())).await
    }

    /// Removes the files that are this run's own.
    fn remove_own(&self) -> io::Result<()> {
        let mut own = self.place.own(self.part).into_iter();
        own.try_for_each(|path| unless_gone(fs::remove_file(path)))
    }
}

impl Drop for WorkspaceDisk {
    fn drop(&mut self) {
        if let Err(error) = self.remove_own() {
            tracing::warn!(%error, "a workspace disk stays");
        }
    }
}

/// Makes a workspace's directory, and keeps it and what is in it from being removed.
async fn lease(dir: &Utf8Path) -> io::Result<FileLock> {
    loop {
        private::create_dir_all(dir)?;
        let lock = match FileLock::shared(&dir.join("lock")).await {
            // Removed in between, for want of room.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            lock => lock?,
        };
        if lock.is_current() {
            if let Err(error) = lock.file().set_modified(SystemTime::now()) {
                tracing::debug!(%dir, %error, "cannot note when it was used");
            }
            return Ok(lock);
        }
    }
}

/// The manifest of what a workspace's newest sources hold of a root, if there are any. Nothing keeps it
/// there: it may be gone when it is read. `workspace` is what its disks are called, `size` how large they
/// are, in bytes.
pub(crate) fn saved_manifest(
    layout: &Layout,
    workspace: &Utf8Path,
    size: u64,
    root_key: &str,
) -> Option<Utf8PathBuf> {
    let of = |format| {
        let place = Place::new(layout, workspace, "", format, size);
        let head = Head::read(place.dir(), Part::Sources)?;
        Some(place.dir().join(head.manifests.get(root_key)?))
    };
    of(DiskFormat::Qcow2).or_else(|| of(DiskFormat::Raw))
}

/// A name for a generation, which no other has or had: templates know those that they stand on by their
/// paths, also where a workspace's generations have been forgotten since and begin anew.
fn generation_name(part: Part, id: u64) -> io::Result<String> {
    let mut random = [0; size_of::<u64>()];
    getrandom(&mut random, GetRandomFlags::empty())?;
    Ok(format!("{}-{id}-{:016x}", part.name(), u64::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests;
