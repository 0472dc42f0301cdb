//! Chains of generations: folding long ones, removing what no head names.

use std::io;

use camino::Utf8Path;
use fs_err as fs;
use tokio::process::Command;

use super::head::Head;
use super::{Part, Place};
use crate::overlay::OverlayError;
use crate::process::run_tool;
use crate::rundir::FileLock;

/// Generations after which a chain is folded into one file.
pub(super) const LONGEST_CHAIN: usize = 8;

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
        if ours && !heads.iter().any(|head| head.names(name)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
