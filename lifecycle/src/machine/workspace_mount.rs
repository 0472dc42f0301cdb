//! A workspace in the guest: pristine sources and `target/` on the workspace disk, a throwaway
//! view of the sources at the host's own path.
//!
//! ```text
//! /run/banger/work/<root>/tree  ── lower ─┐
//! /var/lib/banger/<root>/upper  ── upper ─┴─ overlay at the root's path on the host
//! /run/banger/work/target       ── bind ───── the workspace's target directory
//! ```
//!
//! So what a command writes among the sources is gone with the VM, and what cargo builds stays.

use std::path::Path;
use std::sync::Arc;

use camino::Utf8PathBuf;
use tokio::task::JoinHandle;

use super::{WorkspacePlan, odd_names};
use crate::error::Cause;
use crate::event::{Events, Stage};
use crate::exec::{ExecError, GuestCommand, stream};
use crate::overlay::WorkspaceDisk;
use crate::process::last_lines;
use crate::seed::quote;
use crate::session::{Master, SessionError};
use crate::sync::{Manifest, Plan, Root, SyncError, push, scan, sftp_options};

/// Where the guest mounts the workspace disk.
pub(crate) const DISK: &str = "/run/banger/work";

/// One root, scanned and compared with what the workspace disk holds.
#[derive(Debug)]
pub(crate) struct Scanned {
    root: Root,
    manifest: Manifest,
    plan: Plan,
}

/// The scans of all roots, going on beside the boot.
#[derive(Debug)]
pub(crate) struct Scans {
    workspace: WorkspacePlan,
    tasks: Vec<JoinHandle<Result<Scanned, SyncError>>>,
}

/// A workspace in place: what the disk holds now.
#[derive(Debug)]
pub(crate) struct Mounted {
    scanned: Arc<Vec<Scanned>>,
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
    pub(crate) fn start(workspace: WorkspacePlan, disk: &WorkspaceDisk) -> Self {
        let begin = |root: &Root| {
            let (root, old) = (root.clone(), disk.manifest(&root.key()));
            tokio::task::spawn_blocking(move || {
                let path = old;
                let old = path.as_deref().and_then(Manifest::load);
                let manifest = scan(&root, old.as_ref())?;
                let plan = Plan::between(old.as_ref(), &manifest);
                // The disk holds the same; what could not be trusted without reading it now can.
                if let (Some(path), Some(old), true) = (path, old, plan.is_empty())
                    && old.is_unsettled()
                {
                    manifest.save(&path)?;
                }
                Ok(Scanned { root, manifest, plan })
            })
        };
        let tasks = workspace.roots.iter().map(begin).collect();
        Self { workspace, tasks }
    }

    /// Sends what differs and puts the workspace in place.
    pub(crate) async fn apply(
        self,
        master: &Master,
        events: &Events,
    ) -> Result<(Mounted, SyncReport), Cause> {
        let mut scanned = Vec::new();
        for task in self.tasks {
            scanned.push(task.await.map_err(std::io::Error::other)??);
        }
        let changed = scanned.iter().any(|scanned| !scanned.plan.is_empty());
        let report = send(&mut scanned, master, events).await?;
        let script = mount_script(&scanned, &self.workspace.target);
        step(master, "mounting the workspace", script).await?;
        Ok((Mounted { scanned: Arc::new(scanned), changed }, report))
    }
}

impl Mounted {
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

/// Sends each root's difference, over one SFTP session that is only opened if there is one.
async fn send(
    scanned: &mut [Scanned],
    master: &Master,
    events: &Events,
) -> Result<SyncReport, Cause> {
    let mut report = SyncReport::default();
    if scanned.iter().all(|scanned| scanned.plan.is_empty()) {
        return Ok(report);
    }
    let total = scanned.iter().map(|scanned| scanned.plan.bytes()).sum();
    let sftp = master.sftp(sftp_options()).await?;
    let mut before = 0;
    for Scanned { root, manifest, plan } in scanned {
        let tree = tree(root);
        let progress = |_files: u64, bytes: u64| {
            events.progress(Stage::Sync, "sending the workspace", before + bytes, Some(total));
        };
        report.files += plan.files();
        report.bytes += plan.bytes();
        report.deleted += plan.deletions().len() as u64;
        let odd = plan.take_odd_names();
        let sent = push(&sftp, root.host.as_std_path(), Path::new(&tree), plan, progress).await?;
        manifest.amend(&sent);
        odd_names::send(master, odd, root.host.clone().into(), &tree).await?;
        before = report.bytes;
    }
    // A clean end of the SFTP session, so that every reply has been seen.
    sftp.close().await.map_err(|error| SessionError::Lost(error.to_string()))?;
    Ok(report)
}

/// Where a root's pristine tree is in the guest.
fn tree(root: &Root) -> String {
    format!("{DISK}/{}/tree", root.key())
}

/// The shell text that mounts every root and the target directory.
fn mount_script(scanned: &[Scanned], target: &Utf8PathBuf) -> String {
    let mut script = format!("set -e\ngrep -q ' {DISK} ' /proc/mounts\n");
    for Scanned { root, .. } in scanned {
        let (tree, key) = (tree(root), root.key());
        let upper = format!("/var/lib/banger/{key}");
        let path = quote(root.host.as_str());
        script += &format!(
            "mkdir -p {path} {tree} {upper}/upper {upper}/work\n\
             mount -t overlay -o lowerdir={tree},upperdir={upper}/upper,workdir={upper}/work \
             overlay {path}\n"
        );
    }
    let target = quote(target.as_str());
    script + &format!("mkdir -p {DISK}/target {target}\nmount --bind {DISK}/target {target}\n")
}

/// The shell text that makes the workspace disk complete on the host, and keeps it so.
pub(crate) fn freeze_script() -> String {
    format!("fsfreeze -f {DISK}")
}

/// Runs a step of ours in the guest; its failure carries what it wrote.
pub(crate) async fn step(
    master: &Master,
    what: &'static str,
    script: String,
) -> Result<(), ExecError> {
    // The initrd's busybox: static, and warm in the guest's page cache since the boot.
    let shell = ["/run/banger/busybox", "sh", "-c"].map(Into::into);
    let command = GuestCommand::new(shell.into_iter().chain([script.into()]).collect());
    let (status, _, stderr) = stream::capture(master, &command).await?;
    if status == 0 {
        return Ok(());
    }
    let stderr = last_lines(&String::from_utf8_lossy(&stderr), 5);
    Err(ExecError::Step { what, status, stderr })
}
