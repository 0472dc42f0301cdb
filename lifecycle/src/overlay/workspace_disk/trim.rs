//! How much all workspaces' disks may take up together.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::Part;
use super::head::Head;
use crate::process::unless_gone;
use crate::rundir::{FileLock, Layout, leases};

/// How much the workspaces' disks may take up on the host, in bytes, unless `gc` is told otherwise.
pub const DISK_BUDGET: u64 = 64 << 30;

/// The empty filesystem of before, and the empty top over it.
const OUTDATED: [&str; 2] = ["blank-v1.raw", "blank-v1.raw.top"];

/// The disks of one workspace.
struct Disks {
    dir: Utf8PathBuf,
    /// `None` where no run could start from them.
    workspace: Option<Utf8PathBuf>,
    /// What they take up, in bytes.
    size: u64,
    used: SystemTime,
    in_use: bool,
}

impl Disks {
    fn in_directory(dir: Utf8PathBuf) -> io::Result<Self> {
        let lock = dir.join("lock");
        let head = Part::ALL.iter().find_map(|part| Head::read(&dir, *part));
        Ok(Self {
            workspace: head.map(|head| head.workspace),
            size: allocated(&dir)?,
            used: fs::metadata(&lock)
                .and_then(|it| it.modified())
                .unwrap_or(SystemTime::UNIX_EPOCH),
            in_use: FileLock::try_exclusive(&lock)?.is_none(),
            dir,
        })
    }

    /// What a VM's record calls them.
    fn name(&self) -> &str {
        self.dir.file_name().unwrap_or_default()
    }

    /// Removes them, unless a run uses them by now.
    fn remove(&self, layout: &Layout) -> io::Result<bool> {
        let Some(_alone) = FileLock::try_exclusive(&self.dir.join("lock"))? else {
            return Ok(false);
        };
        // A VM that is kept holds no lock.
        if leases::leased(layout)?.workspaces.contains(self.name()) {
            return Ok(false);
        }
        fs::remove_dir_all(&self.dir)?;
        Ok(true)
    }
}

/// Removes the disks of the workspaces that were used longest ago until all together take up `budget`
/// bytes at most, and those that no run could start from. What a VM uses stays. Returns the
/// workspaces.
///
/// # Errors
/// Where a directory cannot be read or removed.
pub fn trim_disks(layout: &Layout, budget: u64) -> io::Result<Vec<Utf8PathBuf>> {
    let mut all = Vec::new();
    for entry in leases::entries(&layout.workspaces())? {
        let path = entry.into_path();
        if path.is_dir() {
            all.push(Disks::in_directory(path)?);
        } else if path.file_name().is_some_and(|name| OUTDATED.contains(&name)) {
            unless_gone(fs::remove_file(path))?;
        }
    }
    let leased = leases::leased(layout)?.workspaces;
    all.iter_mut().for_each(|disks| disks.in_use |= leased.contains(disks.name()));
    all.sort_by_key(|disks| std::cmp::Reverse(disks.used));
    let mut total: u64 = all.iter().filter(|disks| disks.in_use).map(|disks| disks.size).sum();
    let mut removed = Vec::new();
    for disks in all.into_iter().filter(|disks| !disks.in_use) {
        if disks.workspace.is_some() && total + disks.size <= budget {
            total += disks.size;
        } else if disks.remove(layout)? {
            removed.push(disks.workspace.unwrap_or(disks.dir));
        }
    }
    Ok(removed)
}

/// What a directory's files take up, in bytes: they have holes.
fn allocated(dir: &Utf8Path) -> io::Result<u64> {
    let blocks = |entry: io::Result<camino::Utf8DirEntry>| {
        // A run may remove its own meanwhile.
        Ok(entry?.metadata().map_or(0, |file| file.blocks() * 512))
    };
    dir.read_dir_utf8()?.map(blocks).sum()
}
