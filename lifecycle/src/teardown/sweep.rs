//! Clearing what dead runs left: at the start of every command, and by `gc`.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::time::Duration;

use camino::{Utf8DirEntry, Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::remains;
use crate::network;
use crate::overlay::dm_snapshot;
use crate::process::unless_gone;
use crate::rundir::leases::{entries, run_directories, subdirectories};
use crate::rundir::run::{guard_path, handle_of, is_left_going, is_orphaned};
use crate::rundir::{FileLock, Kind, Layout, Record, RecordError, Shelf};
use crate::sync::staging;
use crate::vmm::{CONSOLE, keeper};

/// How long children of a dead run's owner may take to notice, or to end what they are about.
const ORPHAN_LIMIT: Duration = Duration::from_secs(3);

/// Something of ours that nobody owns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leftover {
    /// A run whose owner died; its processes, files and directory.
    Run(Utf8PathBuf),
    /// The same with a record that is not believed, and why: what it names was left as it is.
    Disbelieved(Utf8PathBuf, String),
    /// One of which something cannot be removed, and why.
    Stuck(Utf8PathBuf, String),
    /// A workspace disk's top that no run owns.
    Disk(Utf8PathBuf),
    /// A layer or template whose maker died.
    Unfinished(Utf8PathBuf),
}

impl Leftover {
    /// A dead run, and how its removal went: that it cannot be removed is no reason that others should
    /// not start.
    fn of(run_dir: Utf8PathBuf, removed: io::Result<Buried>) -> Self {
        match removed {
            Ok(Buried::Whole) => Self::Run(run_dir),
            Ok(Buried::Disbelieved(why)) => Self::Disbelieved(run_dir, in_words(&why)),
            Err(error) => Self::Stuck(run_dir, error.to_string()),
        }
    }

    /// Whether somebody should look at it.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        matches!(self, Self::Disbelieved(..))
    }

    /// Whether it is still there.
    #[must_use]
    pub const fn is_stuck(&self) -> bool {
        matches!(self, Self::Stuck(..))
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(path) => write!(f, "run of a dead process: {path}"),
            Self::Disbelieved(path, why) => {
                write!(f, "run of a dead process, {path}; left what it may have elsewhere: {why}")
            }
            Self::Stuck(path, why) => write!(f, "run of a dead process, {path}: {why}"),
            Self::Disk(path) => write!(f, "disk of no run: {path}"),
            Self::Unfinished(path) => write!(f, "half made: {path}"),
        }
    }
}

/// Finds what nobody owns, and leaves it.
///
/// # Errors
/// Where a directory of ours cannot be read.
pub async fn leftovers(layout: &Layout) -> io::Result<Vec<Leftover>> {
    visit(layout, false).await
}

/// Finds what nobody owns, and removes it.
///
/// # Errors
/// Where something cannot be removed.
pub async fn sweep(layout: &Layout) -> io::Result<Vec<Leftover>> {
    visit(layout, true).await
}

async fn visit(layout: &Layout, remove: bool) -> io::Result<Vec<Leftover>> {
    let mut found = unfinished(layout, remove)?;
    if !layout.runs().is_dir() {
        return Ok(found);
    }
    let _turn = FileLock::exclusive(&guard_path(layout)).await?;
    for run_dir in half_removed(layout)? {
        let removed = if remove { fs::remove_dir_all(&run_dir) } else { Ok(()) };
        found.push(Leftover::of(run_dir, removed.map(|()| Buried::Whole)));
    }
    let mut live = BTreeSet::new();
    for run_dir in run_directories(layout)? {
        match dead_lock(layout, &run_dir).await? {
            None => drop(live.insert(run_dir)),
            Some(_lock) => {
                let buried = if remove { bury(layout, &run_dir) } else { seen(layout, &run_dir) };
                if buried.is_err() {
                    live.insert(run_dir.clone());
                }
                found.push(Leftover::of(run_dir, buried));
            }
        }
    }
    if let Some(owned) = owned_files(layout, &live) {
        for workspace in subdirectories(&layout.workspaces())? {
            let is_top = |name: &str| name.starts_with("run-");
            let tops = unowned(&workspace, &owned, is_top)?;
            found.extend(tops.into_iter().map(Leftover::Disk));
        }
    }
    if remove {
        for leftover in &found {
            if let Leftover::Disk(path) = leftover {
                unless_gone(fs::remove_file(path))?;
            }
        }
    }
    Ok(found)
}

/// What makers of layers and templates left half done.
fn unfinished(layout: &Layout, remove: bool) -> io::Result<Vec<Leftover>> {
    let mut found = Vec::new();
    for kind in [Kind::Layers, Kind::Templates] {
        let shelf = Shelf::new(layout, kind);
        let paths = if remove { shelf.sweep()? } else { shelf.unfinished()? };
        found.extend(paths.into_iter().map(Leftover::Unfinished));
    }
    Ok(found)
}

/// Those whose remover died.
fn half_removed(layout: &Layout) -> io::Result<Vec<Utf8PathBuf>> {
    let mut found = subdirectories(&layout.runs())?;
    found.retain(|dir| dir.file_name().is_some_and(is_left_going));
    Ok(found)
}

/// The lock of a run whose owner is dead and which was not told to stay; `None` for a live one.
async fn dead_lock(layout: &Layout, run_dir: &Utf8Path) -> io::Result<Option<FileLock>> {
    let path = run_dir.join("lock");
    let lock = match FileLock::try_exclusive(&path) {
        // Of another user, such as root with this home: not ours to judge.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Ok(None) if is_orphaned(run_dir) => {
            let waiting = tokio::time::timeout(ORPHAN_LIMIT, FileLock::exclusive(&path));
            waiting.await.ok().transpose()?
        }
        lock => lock?,
    };
    let Some(lock) = lock else { return Ok(None) };
    let record = Record::read(layout, run_dir).ok().flatten();
    let kept = record.is_some_and(|record| record.meta.kept);
    if kept && !remains::processes(run_dir)?.is_empty() {
        return Ok(None);
    }
    Ok(Some(lock))
}

/// How a dead run was ended.
#[derive(Debug)]
pub(crate) enum Buried {
    /// All that its record names is gone.
    Whole,
    /// Its record is not believed, so that nothing but its directory and processes is gone.
    Disbelieved(RecordError),
}

/// Why a record is not believed, on one line.
fn in_words(error: &RecordError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

/// What ending a dead run would be, where nothing stops it.
fn seen(layout: &Layout, run_dir: &Utf8Path) -> io::Result<Buried> {
    Ok(Record::read(layout, run_dir).map_or_else(Buried::Disbelieved, |_| Buried::Whole))
}

/// Ends a dead run: its processes, what it owned elsewhere, its directory.
pub(crate) fn bury(layout: &Layout, run_dir: &Utf8Path) -> io::Result<Buried> {
    remains::kill(run_dir)?;
    keeper::wait_for_end(&run_dir.join(CONSOLE));
    let record = Record::read(layout, run_dir);
    if let Ok(Some(record)) = &record {
        for path in &record.meta.owns {
            unless_gone(fs::remove_file(path))?;
        }
        for path in &record.meta.fetches {
            staging::remove(path.as_std_path(), &handle_of(run_dir))?;
        }
        dm_snapshot::remove(&record.meta.devices)?;
        if let Some(network) = &record.meta.network {
            network::remove(network).map_err(io::Error::other)?;
        }
    }
    fs::remove_dir_all(run_dir)?;
    Ok(record.map_or_else(Buried::Disbelieved, |_| Buried::Whole))
}

/// The files outside their directories that live runs own; `None` where one of them has a record that
/// cannot be read, so that any file may be its.
fn owned_files(layout: &Layout, live: &BTreeSet<Utf8PathBuf>) -> Option<BTreeSet<Utf8PathBuf>> {
    let records: Result<Vec<_>, _> = live.iter().map(|dir| Record::read(layout, dir)).collect();
    Some(records.ok()?.into_iter().flatten().flat_map(|record| record.meta.owns).collect())
}

/// The entries of a directory that match and are not in `owned`.
fn unowned(
    dir: &Utf8Path,
    owned: &BTreeSet<Utf8PathBuf>,
    matches: impl Fn(&str) -> bool,
) -> io::Result<Vec<Utf8PathBuf>> {
    let is_unowned =
        |entry: &Utf8DirEntry| matches(entry.file_name()) && !owned.contains(entry.path());
    let found = entries(dir)?.into_iter().filter(is_unowned);
    Ok(found.map(Utf8DirEntry::into_path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rundir::RunDir;
    use crate::rundir::record::Uses;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
        (dir, layout)
    }

    #[tokio::test]
    async fn a_live_run_is_left_and_a_dead_one_removed() {
        let (_dir, layout) = layout();
        let live = RunDir::create(&layout, None).await.unwrap();
        let dead = layout.runs().join("dead");
        fs::create_dir(&dead).unwrap();
        assert_eq!(leftovers(&layout).await.unwrap(), [Leftover::Run(dead.clone())]);
        sweep(&layout).await.unwrap();
        assert!(!dead.exists());
        assert!(live.path().exists());
        assert!(sweep(&layout).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_was_half_removed_goes_once_its_remover_is_gone() {
        let (_dir, layout) = layout();
        drop(RunDir::create(&layout, None).await.unwrap());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let going = |process| layout.runs().join(format!(".going-{process}-otter"));
        let (ours, dead) = (going(std::process::id()), going(child.id()));
        fs::create_dir(&ours).unwrap();
        fs::create_dir(&dead).unwrap();
        assert_eq!(sweep(&layout).await.unwrap(), [Leftover::Run(dead.clone())]);
        assert!(ours.exists() && !dead.exists());
        assert!(run_directories(&layout).unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_an_interrupted_fetch_left_goes_with_its_run() {
        let (dir, layout) = layout();
        let run = RunDir::create(&layout, None).await.unwrap();
        let dead = run.path().to_owned();
        let top = fs::canonicalize(dir.path()).unwrap();
        let staging = |handle: &str| {
            let name = format!(".banger-fetch-{handle}-0011223344556677");
            let path = Utf8PathBuf::from_path_buf(top.join(name)).unwrap();
            fs::create_dir_all(path.join("fetched/deep")).unwrap();
            path
        };
        let (own, other) = (staging(&run.handle()), staging("01234567"));
        let mut record = Record::kept(dead.file_name().unwrap(), Uses::default());
        record.meta.kept = false;
        record.meta.fetches = vec![own.clone(), other.clone()];
        record.write(&dead).unwrap();
        // As when it is killed: the guard does not run, and the lock goes.
        drop(run);
        assert!(dead.exists(), "the record of what is left stays");
        assert_eq!(sweep(&layout).await.unwrap(), [Leftover::Run(dead.clone())]);
        assert!(!own.exists() && other.exists() && !dead.exists());
    }

    #[tokio::test]
    async fn a_record_that_is_not_believed_is_not_obeyed() {
        let (dir, layout) = layout();
        let run = RunDir::create(&layout, None).await.unwrap();
        let path = run.path().to_owned();
        drop(run);
        fs::create_dir(&path).unwrap();
        let precious = Utf8Path::from_path(dir.path()).unwrap().join("run-precious");
        fs::write(&precious, "").unwrap();
        let name = path.file_name().unwrap();
        let meta = serde_json::json!({
            "format": 1, "name": name, "spec": crate::spec::VmSpec::default(), "image": null,
            "created": "2026-11-28T00:00:00Z", "owns": [precious], "kept": false, "directory": null,
        });
        let record = serde_json::json!({ "meta": meta, "config": null });
        fs::write(path.join("vm.json"), record.to_string()).unwrap();
        let looked = leftovers(&layout).await.unwrap();
        let swept = sweep(&layout).await.unwrap();
        assert_eq!(looked, swept);
        assert!(
            swept[0].is_suspect() && swept[0].to_string().contains("run-precious"),
            "{swept:?}"
        );
        assert!(precious.exists() && !path.exists());
    }

    #[tokio::test]
    async fn a_live_run_whose_record_cannot_be_read_keeps_its_disk() {
        let (_dir, layout) = layout();
        let live = RunDir::create(&layout, None).await.unwrap();
        let top = layout.workspaces().join("0123abcd/run-of-another-version");
        fs::create_dir_all(top.parent().unwrap()).unwrap();
        fs::write(&top, "").unwrap();
        fs::write(live.path().join("vm.json"), "{\"meta\": {\"format\": 99}}").unwrap();
        assert!(sweep(&layout).await.unwrap().is_empty() && top.exists());
        drop(live);
        assert_eq!(sweep(&layout).await.unwrap(), [Leftover::Disk(top.clone())]);
        assert!(!top.exists());
    }

    #[test]
    fn the_disk_of_a_kept_vms_workspace_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
        let (run_dir, disk) = (layout.runs().join("otter"), layout.workspaces().join("0123abcd"));
        fs::create_dir_all(&run_dir).unwrap();
        fs::create_dir_all(&disk).unwrap();
        let uses = Uses { workspaces: ["0123abcd".to_owned()].into(), ..Uses::default() };
        Record::kept("otter", uses).write(&run_dir).unwrap();
        let remove = || crate::overlay::trim_disks(&layout, 0).unwrap();
        assert!(remove().is_empty() && disk.exists());
        fs::remove_dir_all(&run_dir).unwrap();
        assert_eq!(remove(), [disk]);
    }

    #[tokio::test]
    async fn sweeping_nothing_is_no_error() {
        let (_dir, layout) = layout();
        assert!(sweep(&layout).await.unwrap().is_empty());
    }
}
