//! Chains of generations: empty tops over them, folding long ones, removing what no head names.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use tokio::process::Command;

use super::head::Head;
use super::{Part, Place};
use crate::overlay::qcow2::{self, Backing};
use crate::overlay::{OverlayError, blank};
use crate::process::run_tool;
use crate::rundir::FileLock;

/// What is added to a disk's name for that of an empty top over it.
const TOP: &str = ".top";

/// Generations after which a chain is folded into one file.
pub(super) const LONGEST_CHAIN: usize = 8;

/// Makes an empty top over a disk: a copy of one made before, where there is one, as `qemu-img` takes
/// its time.
pub(super) async fn make_top(
    top: &Utf8Path,
    base: &Utf8Path,
    format: Backing,
) -> Result<(), OverlayError> {
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

/// Removes what no head names, and folds long chains into one file each, where no run uses the
/// workspace's disks.
pub(super) async fn tidy(place: &Place) -> Result<(), OverlayError> {
    let dir = place.dir();
    let Some(_alone) = FileLock::try_exclusive(&dir.join("lock"))? else {
        return Ok(());
    };
    let mut heads = Vec::new();
    for part in Part::ALL {
        if let Some(head) = Head::read(dir, part) {
            heads.push(fold(dir, part, head).await?);
        }
    }
    Ok(remove_unnamed(dir, &heads)?)
}

/// Folds a chain into one file if it is long.
async fn fold(dir: &Utf8Path, part: Part, mut head: Head) -> Result<Head, OverlayError> {
    let Some(newest) = head.newest().filter(|_| head.chain.len() > LONGEST_CHAIN) else {
        return Ok(head);
    };
    let (newest, folded) = (dir.join(newest), format!("{newest}-folded"));
    let unfinished = dir.join(format!("{folded}.part"));
    let mut convert = Command::new("qemu-img");
    // Over no backing file: with one, qemu-img takes what the generations between hold for its.
    convert.args(["convert", "-q", "-O", "qcow2"]);
    convert.args([newest.as_str(), unfinished.as_str()]);
    run_tool(&mut convert)
        .await
        .map_err(|source| OverlayError::Create { path: unfinished.clone(), source })?;
    fs::rename(&unfinished, dir.join(&folded))?;
    head.chain = vec![folded];
    head.write(dir, part)?;
    Ok(head)
}

/// Removes generations and manifests that no head names.
fn remove_unnamed(dir: &Utf8Path, heads: &[Head]) -> io::Result<()> {
    let kinds = Part::ALL.map(|part| format!("{}-", part.name()));
    for entry in dir.read_dir_utf8()? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = name.starts_with("manifest-") || kinds.iter().any(|kind| name.starts_with(kind));
        let file = name.strip_suffix(TOP).unwrap_or(name);
        if ours && !heads.iter().any(|head| head.names(file)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
