//! A workspace in the guest: pristine sources on one disk, `target/` on another, a throwaway view of
//! the sources at the host's own path.
//!
//! ```text
//! /run/banger/work/<root>/tree  ── lower ─┐
//! /var/lib/banger/<root>/upper  ── upper ─┴─ overlay at the root's path on the host
//! /run/banger/build/target      ── bind ───── the workspace's target directory
//! ```
//!
//! So what a command writes among the sources is gone with the VM, and what cargo builds stays. The
//! disk with `target/`, to which commands have written, is mounted once the sources are sealed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::slots::{BUILD, SOURCES};
use super::transfer::with_sftp;
use super::{WorkspacePlan, odd_names};
use crate::agent::{Batch, Mount};
use crate::error::Cause;
use crate::event::{Events, Stage};
use crate::exec::Channel;
use crate::overlay::WorkspaceDisk;
use crate::sync::{Manifest, Plan, Root, Scan, SyncError, push, scan_tree};

/// What is done after the sync, and how long each may take the guest.
pub(crate) const SEALING: &str = "writing out the sources";
pub(crate) const MOUNTING_BUILD: &str = "mounting the disk with `target/`";
pub(crate) const MOUNTING: &str = "mounting the workspace";
pub(crate) const MOUNT_LIMIT: Duration = Duration::from_secs(60);

/// One root, scanned and compared with what the sources' disk holds.
#[derive(Debug)]
pub(crate) struct Scanned {
    root: Root,
    manifest: Manifest,
    plan: Plan,
    /// Ignore files that were not obeyed.
    passed_over: Vec<PathBuf>,
}

/// The scans of all roots, going on beside the boot.
#[derive(Debug)]
pub(crate) struct Scans {
    tasks: Vec<JoinHandle<Result<Scanned, SyncError>>>,
    done: Vec<Result<Scanned, Cause>>,
}

/// A workspace that was sent: what the disk holds now.
#[derive(Debug)]
pub(crate) struct Synced {
    scanned: Vec<Scanned>,
    /// Whether anything was sent.
    pub(crate) changed: bool,
}

/// What a sync did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Files sent.
    pub files: u64,
    /// Bytes of content sent.
    pub bytes: u64,
    /// Entries removed in the guest.
    pub deleted: u64,
}

impl Scans {
    /// Begins scanning every root off the async threads.
    pub(crate) fn start(workspace: &WorkspacePlan, disk: &WorkspaceDisk) -> Self {
        let begin = |root: &Root| {
            let (root, old) = (root.clone(), disk.manifest(&root.key()));
            tokio::task::spawn_blocking(move || {
                let path = old;
                let old = path.as_deref().and_then(Manifest::load);
                let Scan { manifest, passed_over } = scan_tree(&root, old.as_ref())?;
                let plan = Plan::between(old.as_ref(), &manifest);
                // The disk holds the same; what could not be trusted without reading it now can.
                if let (Some(path), Some(old), true) = (path, old, plan.is_empty())
                    && old.is_unsettled()
                {
                    manifest.save(&path)?;
                }
                Ok(Scanned { root, manifest, plan, passed_over })
            })
        };
        let tasks = workspace.roots.iter().map(begin).collect();
        Self { tasks, done: Vec::new() }
    }

    /// Waits for the scans' end: whether the disk holds all there is, and nothing else.
    pub(crate) async fn unchanged(&mut self) -> bool {
        for task in self.tasks.drain(..) {
            let scanned = task.await.map_err(std::io::Error::other);
            self.done.push(scanned.map_err(Cause::from).and_then(|done| done.map_err(Into::into)));
        }
        self.done.iter().all(|done| done.as_ref().is_ok_and(|done| done.plan.is_empty()))
    }

    /// Sends what differs.
    pub(crate) async fn send(
        mut self,
        channel: &Channel,
        events: &Events,
    ) -> Result<(Synced, SyncReport), Cause> {
        let changed = !self.unchanged().await;
        let mut scanned = self.done.into_iter().collect::<Result<Vec<_>, _>>()?;
        tell_passed_over(&scanned, events);
        let report = send(&mut scanned, channel, events).await?;
        Ok((Synced { scanned, changed }, report))
    }
}

impl Synced {
    /// The keys of the roots on the disk.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.scanned.iter().map(|scanned| scanned.root.key()).collect()
    }

    /// Writes the manifest of one root.
    pub(crate) fn save(&self, key: &str, path: &camino::Utf8Path) -> std::io::Result<()> {
        let scanned = self.scanned.iter().find(|scanned| scanned.root.key() == key);
        let scanned = scanned.expect("manifests are saved for roots that were scanned");
        scanned.manifest.save(path).map_err(std::io::Error::other)
    }
}

/// Names the ignore files that were not obeyed: more may be sent than was meant.
fn tell_passed_over(scanned: &[Scanned], events: &Events) {
    let mut paths = scanned.iter().flat_map(|scanned| &scanned.passed_over);
    let Some(first) = paths.next() else { return };
    let others = match paths.count() {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let hint = "an ignore file has to be a regular file, not a link, of at most 1 MiB";
    events.warning(format!("not obeyed: `{}`{others}", first.display()), Some(hint));
}

/// Sends each root's difference, over one SFTP session that is only opened if there is one.
async fn send(
    scanned: &mut [Scanned],
    channel: &Channel,
    events: &Events,
) -> Result<SyncReport, Cause> {
    let mut report = SyncReport::default();
    if scanned.iter().all(|scanned| scanned.plan.is_empty()) {
        return Ok(report);
    }
    let total = scanned.iter().map(|scanned| scanned.plan.bytes()).sum();
    let mut odd = Vec::new();
    with_sftp(channel, async |sftp| {
        for Scanned { root, manifest, plan, .. } in scanned {
            let tree = tree(root);
            let before = report.bytes;
            let progress = |_files: u64, bytes: u64| {
                events.progress(Stage::Sync, "sending the workspace", before + bytes, Some(total));
            };
            report.files += plan.files();
            report.bytes += plan.bytes();
            report.deleted += plan.deletions().len() as u64;
            odd.push((plan.take_odd_names(), root.host.clone(), tree.clone()));
            let sent =
                push(sftp, root.host.as_std_path(), Path::new(&tree), plan, progress).await?;
            manifest.amend(&sent);
        }
        Ok(())
    })
    .await?;
    for (names, root, tree) in odd {
        odd_names::send(channel, names, root.into(), &tree).await?;
    }
    Ok(report)
}

/// Where a root's pristine tree is in the guest.
fn tree(root: &Root) -> String {
    format!("{SOURCES}/{}/tree", root.key())
}

/// Mounts every root, and shows the target directory where there is one and its disk is mounted.
pub(super) fn mounts(workspace: &WorkspacePlan) -> Batch {
    let mut batch = Batch::new();
    for root in &workspace.roots {
        let tree = tree(root);
        let over = |name: &str| format!("/var/lib/banger/{}/{name}", root.key());
        let (upper, work) = (over("upper"), over("work"));
        for directory in [root.host.as_str(), &tree, &upper, &work] {
            batch = batch.directory(directory);
        }
        batch = batch.overlay(&root.host, &tree, &upper, &work);
    }
    let Some(target) = &workspace.target else { return batch };
    batch.directory(target.as_str()).bind(&kept(), target.as_str())
}

/// Where the target directory is on its disk.
fn kept() -> String {
    format!("{BUILD}/target")
}

/// Mounts the disk with the target directory, unless errors were found on it.
pub(crate) fn mount_build(disk: &Mount) -> Batch {
    Batch::new().disk(disk).directory(&kept()).sound(disk)
}

/// Makes that disk complete on the host, and keeps it so; fails where errors were found on it.
pub(crate) fn freeze_build(disk: &Mount) -> Batch {
    Batch::new().sound(disk).freeze(BUILD)
}

/// Makes the sources' disk complete on the host, where nothing in the guest writes to it any more. To
/// freeze it takes an emulated guest a tenth of a second, and without a journal it writes no more.
pub(crate) fn write_out_sources() -> Batch {
    Batch::new().sync()
}
