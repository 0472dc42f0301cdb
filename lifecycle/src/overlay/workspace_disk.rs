//! The disk that keeps one workspace warm: its sources as last synced, and its `target/`.
//!
//! ```text
//! blank ◄── disk-1 ◄── disk-2 ◄── run-a.qcow2      each a qcow2 overlay on the one before;
//!            (never written again)  └ run-b.qcow2   each run has a private top
//! ```
//!
//! A run that ends well and wrote something makes its top the newest generation by a rename, so a
//! run killed at any moment changes nothing, and runs side by side share all that is warm. Of two
//! runs that started from the same generation, the first to finish wins.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::blank::{self, SIZE};
use super::qcow2::{self, Backing};
use super::{DiskFormat, OverlayError, raw};
use crate::process::{run_tool, unless_gone};
use crate::rundir::{FileLock, Layout, leases};

/// What of a top's growth is only the filesystem's own bookkeeping, in bytes.
const BOOKKEEPING: u64 = 3 << 20;

/// What is added to a disk's name for that of an empty top over it.
const TOP: &str = ".top";

/// Generations after which the chain is folded into one file.
const LONGEST_CHAIN: usize = 8;

/// The newest generation of a workspace disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    workspace: Utf8PathBuf,
    id: u64,
    /// File names, oldest first.
    chain: Vec<String>,
    /// File names of the sync manifests, by root key.
    manifests: BTreeMap<String, String>,
}

impl Head {
    const FORMAT: u32 = 2;

    /// Reads the head; anything amiss means a fresh start.
    fn read(dir: &Utf8Path) -> Option<Self> {
        let text = fs::read(dir.join("head.json")).ok()?;
        let head: Self = serde_json::from_slice(&text).ok()?;
        let whole = head.format == Self::FORMAT && head.chain.iter().all(|f| dir.join(f).exists());
        whole.then_some(head)
    }

    fn write(&self, dir: &Utf8Path) -> io::Result<()> {
        let part = dir.join("head.json.part");
        fs::write(&part, serde_json::to_vec_pretty(self)?)?;
        fs::rename(part, dir.join("head.json"))
    }
}

/// One run's private top over the newest generation. Dropping it removes the top.
#[must_use = "dropping the disk removes it"]
#[derive(Debug)]
pub(crate) struct WorkspaceDisk {
    top: Utf8PathBuf,
    dir: Utf8PathBuf,
    workspace: Utf8PathBuf,
    format: DiskFormat,
    parent: Option<Head>,
    /// Held shared, so that no generation under us is removed. Last: outlives the top.
    _lease: FileLock,
}

impl WorkspaceDisk {
    /// Where the private top of a run will be, for its record.
    pub(crate) fn top_path(
        layout: &Layout,
        workspace: &Utf8Path,
        run: &str,
        format: DiskFormat,
    ) -> Utf8PathBuf {
        directory(layout, workspace, format).join(format!("run-{run}.disk"))
    }

    /// What the directory is called that a workspace's disk is in.
    pub(crate) fn directory_name(
        layout: &Layout,
        workspace: &Utf8Path,
        format: DiskFormat,
    ) -> Option<String> {
        directory(layout, workspace, format).file_name().map(str::to_owned)
    }

    /// Opens a private top over what the last run left.
    pub(crate) async fn open(
        layout: &Layout,
        workspace: &Utf8Path,
        run: &str,
        format: DiskFormat,
    ) -> Result<Self, OverlayError> {
        let dir = directory(layout, workspace, format);
        fs::create_dir_all(&dir)?;
        let blank = blank_disk(layout).await?;
        let lease = FileLock::shared(&dir.join("lock")).await?;
        let parent = Head::read(&dir);
        let top = Self::top_path(layout, workspace, run, format);
        let newest = parent.as_ref().and_then(|head| Some(dir.join(head.chain.last()?)));
        match (format, newest) {
            (DiskFormat::Raw, newest) => raw::copy(&newest.unwrap_or(blank), &top).await?,
            (DiskFormat::Qcow2, Some(newest)) => make_top(&top, &newest, Backing::Qcow2).await?,
            (DiskFormat::Qcow2, None) => make_top(&top, &blank, Backing::Raw).await?,
        }
        let workspace = workspace.to_owned();
        Ok(Self { top, dir, workspace, format, parent, _lease: lease })
    }

    /// The private top, for the VMM.
    pub(crate) fn top(&self) -> &Utf8Path {
        &self.top
    }

    /// The newest generation, under the top.
    pub(crate) fn newest(&self) -> Option<Utf8PathBuf> {
        Some(self.dir.join(self.parent.as_ref()?.chain.last()?))
    }

    /// Starts from what stands on the newest generation elsewhere: `overlay` is an empty top over
    /// that.
    pub(crate) fn start_from(&self, overlay: &Utf8Path) -> Result<(), OverlayError> {
        blank::copy(overlay, &self.top)
    }

    /// The manifest of what the disk holds of a root, if it holds anything.
    pub(crate) fn manifest(&self, root_key: &str) -> Option<Utf8PathBuf> {
        Some(self.dir.join(self.parent.as_ref()?.manifests.get(root_key)?))
    }

    /// Whether the run wrote anything worth keeping. Counts after the VMM has ended.
    pub(crate) fn dirty(&self) -> io::Result<bool> {
        let before = match (self.format, self.newest()) {
            (DiskFormat::Raw, Some(newest)) => qcow2::allocated(&newest)?,
            _ => 0,
        };
        Ok(qcow2::allocated(&self.top)?.abs_diff(before) > BOOKKEEPING)
    }

    /// Forgets the workspace's generations: the guest could not use them.
    pub(crate) fn forget(&self) -> io::Result<()> {
        unless_gone(fs::remove_file(self.dir.join("head.json")))
    }

    /// Makes this run's top the newest generation, with the manifests of what it holds.
    ///
    /// `save` writes one manifest per root key to the path it is given. Returns whether it was
    /// kept: not if another run has made a newer generation meanwhile.
    pub(crate) async fn commit(
        self,
        roots: &[String],
        save: impl Fn(&str, &Utf8Path) -> io::Result<()>,
    ) -> Result<bool, OverlayError> {
        let _turn = FileLock::exclusive(&self.dir.join("commit.lock")).await?;
        let current = Head::read(&self.dir);
        if current != self.parent {
            return Ok(false);
        }
        let mut head = current.unwrap_or_default();
        (head.format, head.workspace) = (Head::FORMAT, self.workspace.clone());
        head.id += 1;
        // What the head names must be on disk before the head is: a power cut must not leave a
        // manifest that claims more than the disk holds.
        fs::File::open(&self.top)?.sync_data()?;
        let disk = disk_name(head.id)?;
        fs::rename(&self.top, self.dir.join(&disk))?;
        if self.format == DiskFormat::Raw {
            // It stands on nothing.
            head.chain.clear();
        }
        head.chain.push(disk);
        for root in roots {
            let manifest = format!("manifest-{}-{root}", head.id);
            save(root, &self.dir.join(&manifest))?;
            head.manifests.insert(root.clone(), manifest);
        }
        head.write(&self.dir)?;
        let dir = self.dir.clone();
        drop(self);
        fold(&dir, head).await?;
        Ok(true)
    }
}

impl Drop for WorkspaceDisk {
    fn drop(&mut self) {
        if let Err(error) = unless_gone(fs::remove_file(&self.top)) {
            tracing::warn!(%error, "a workspace disk stays");
        }
    }
}

/// The manifest of what a workspace's newest disk holds of a root, if there is one. Nothing keeps it
/// there: it may be gone when it is read.
pub(crate) fn saved_manifest(
    layout: &Layout,
    workspace: &Utf8Path,
    root_key: &str,
) -> Option<Utf8PathBuf> {
    let of = |format| {
        let dir = directory(layout, workspace, format);
        Some(dir.join(Head::read(&dir)?.manifests.get(root_key)?))
    };
    of(DiskFormat::Qcow2).or_else(|| of(DiskFormat::Raw))
}

/// Removes the disks of workspaces that no VM uses, and returns the workspaces.
///
/// # Errors
/// Where a directory cannot be read or removed.
pub fn remove_unused_disks(layout: &Layout) -> io::Result<Vec<Utf8PathBuf>> {
    let mut removed = Vec::new();
    let is_leased = |dir: &Utf8Path| {
        let name = dir.file_name().unwrap_or_default();
        leases::leased(layout).map(|leased| leased.workspaces.contains(name))
    };
    let entries = match layout.workspaces().read_dir_utf8() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
        entries => entries?,
    };
    for entry in entries {
        let dir = entry?.into_path();
        if !dir.is_dir() {
            continue;
        }
        let Some(_lock) = FileLock::try_exclusive(&dir.join("lock"))? else { continue };
        if !is_leased(&dir)? {
            let head = Head::read(&dir);
            fs::remove_dir_all(&dir)?;
            removed.push(head.map_or(dir, |head| head.workspace));
        }
    }
    Ok(removed)
}

/// A workspace's directory in the cache.
fn directory(layout: &Layout, workspace: &Utf8Path, format: DiskFormat) -> Utf8PathBuf {
    let key = blake3::hash(workspace.as_str().as_bytes()).to_hex();
    let suffix = match format {
        DiskFormat::Qcow2 => "",
        DiskFormat::Raw => "-raw",
    };
    layout.workspaces().join(format!("{}{suffix}", &key[..24]))
}

/// The empty filesystem under every workspace's first generation, made once.
async fn blank_disk(layout: &Layout) -> Result<Utf8PathBuf, OverlayError> {
    let path = layout.workspaces().join("blank-v1.raw");
    if path.exists() {
        return Ok(path);
    }
    let _turn = FileLock::exclusive(&layout.workspaces().join(".lock-blank")).await?;
    if path.exists() {
        return Ok(path);
    }
    let part = layout.workspaces().join("blank-v1.raw.part");
    fs::File::create(&part)?.set_len(SIZE)?;
    let mut mke2fs = Command::new("/usr/sbin/mke2fs");
    // No journal: a generation is only ever kept frozen, and a top that was not is thrown away.
    mke2fs.args(["-q", "-F", "-t", "ext4", "-m", "0", "-O", "^has_journal,^resize_inode"]);
    mke2fs.args(["-E", "lazy_itable_init=1,nodiscard", "-L", "banger-work", part.as_str()]);
    run_tool(&mut mke2fs)
        .await
        .map_err(|source| OverlayError::Create { path: path.clone(), source })?;
    fs::rename(part, &path)?;
    Ok(path)
}

/// Makes an empty top over a disk: a copy of one made before, where there is one, as `qemu-img` takes
/// its time.
async fn make_top(top: &Utf8Path, base: &Utf8Path, format: Backing) -> Result<(), OverlayError> {
    let blank = Utf8PathBuf::from(format!("{base}{TOP}"));
    if blank.exists() {
        return blank::copy(&blank, top);
    }
    qcow2::create(top, base, format, None).await?;
    if let Some(_turn) = FileLock::try_exclusive(&base.with_file_name(".lock-top"))? {
        let part = Utf8PathBuf::from(format!("{blank}.part"));
        blank::copy(top, &part)?;
        fs::rename(part, blank)?;
    }
    Ok(())
}

/// A name for a generation, which no other has or had: templates know those that they stand on by their
/// paths, also where a workspace's generations have been forgotten since and begin anew.
fn disk_name(id: u64) -> io::Result<String> {
    let mut random = [0; size_of::<u64>()];
    getrandom(&mut random, GetRandomFlags::empty())?;
    Ok(format!("disk-{id}-{:016x}", u64::from_ne_bytes(random)))
}

/// Removes what no head names, and folds a long chain into one file, where nobody else uses it.
async fn fold(dir: &Utf8Path, mut head: Head) -> Result<(), OverlayError> {
    let Some(_alone) = FileLock::try_exclusive(&dir.join("lock"))? else {
        return Ok(());
    };
    if head.chain.len() > LONGEST_CHAIN {
        let newest = head.chain.last().expect("a chain past its limit is not empty");
        let (newest, folded) = (dir.join(newest), format!("{newest}-folded"));
        let part = dir.join(format!("{folded}.part"));
        let mut convert = Command::new("qemu-img");
        // Over no backing file: with one, qemu-img takes what the generations between hold for its.
        convert.args(["convert", "-q", "-O", "qcow2"]);
        convert.args([newest.as_str(), part.as_str()]);
        run_tool(&mut convert)
            .await
            .map_err(|source| OverlayError::Create { path: part.clone(), source })?;
        fs::rename(&part, dir.join(&folded))?;
        head.chain = vec![folded];
        head.write(dir)?;
    }
    remove_unnamed(dir, &head)?;
    Ok(())
}

/// Removes generations and manifests that the head does not name.
fn remove_unnamed(dir: &Utf8Path, head: &Head) -> io::Result<()> {
    for entry in dir.read_dir_utf8()? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.starts_with("disk-") || name.starts_with("manifest-");
        let disk = name.strip_suffix(TOP).unwrap_or(name);
        let named = head.chain.iter().any(|file| file == disk)
            || head.manifests.values().any(|file| file == name);
        if ours && !named {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::find_program;

    /// Runs one command of qemu-io on a disk.
    async fn qemu_io(disk: &Utf8Path, command: &str) {
        let mut qemu_io = Command::new("qemu-io");
        qemu_io.args(["-f", "qcow2", "-c", command, disk.as_str()]);
        let said = run_tool(&mut qemu_io).await.unwrap();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains("verification failed"), "{command}: {said}");
    }

    #[tokio::test]
    async fn every_generation_holds_what_those_before_it_hold() {
        let path = std::env::var_os("PATH");
        let missing = |tool: &&str| find_program(tool, path.as_deref()).is_none();
        if ["qemu-io", "mke2fs"].iter().any(missing) {
            return eprintln!("left out: no qemu-io, or no mke2fs");
        }
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let layout = Layout::under(dir);
        let open = || WorkspaceDisk::open(&layout, "/w".into(), "run", DiskFormat::Qcow2);
        // Far from what the filesystem holds, which is at the start.
        let place = |number: usize| (32 << 30) + number * (1 << 20);
        for number in 1..=2 * LONGEST_CHAIN + 3 {
            let disk = open().await.unwrap();
            for earlier in 1..number {
                qemu_io(disk.top(), &format!("read -P {earlier} {} 64k", place(earlier))).await;
            }
            qemu_io(disk.top(), &format!("write -P {number} {} 64k", place(number))).await;
            assert!(disk.commit(&[], |_, _| Ok(())).await.unwrap());
        }
        let disk = open().await.unwrap();
        assert!(disk.parent.as_ref().unwrap().chain.len() <= LONGEST_CHAIN);
    }

    #[tokio::test]
    async fn a_generation_is_never_taken_for_one_that_was_forgotten() {
        let path = std::env::var_os("PATH");
        if ["qemu-img", "mke2fs"].iter().any(|tool| find_program(tool, path.as_deref()).is_none()) {
            return eprintln!("left out: no qemu-img, or no mke2fs");
        }
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
        let mut seen = Vec::new();
        for _ in 0..2 {
            let open = || WorkspaceDisk::open(&layout, "/w".into(), "run", DiskFormat::Qcow2);
            assert!(open().await.unwrap().commit(&[], |_, _| Ok(())).await.unwrap());
            let disk = open().await.unwrap();
            seen.extend(disk.newest());
            disk.forget().unwrap();
        }
        assert!(seen.len() == 2 && seen[0] != seen[1], "{seen:?}");
    }
}
