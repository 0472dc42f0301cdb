//! The empty filesystem under every workspace disk's first generation, made once for each size.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use tokio::process::Command;

use super::Place;
use crate::overlay::qcow2::{self, Backing};
use crate::overlay::{OverlayError, blank};
use crate::process::run_tool;
use crate::rundir::FileLock;

/// Makes it, unless it is there.
pub(super) async fn ensure(place: &Place) -> Result<Utf8PathBuf, OverlayError> {
    let name = format!("blank-v2-{}.raw", place.size() >> 20);
    let all = place.layout().workspaces();
    let path = all.join(&name);
    if path.exists() {
        return Ok(path);
    }
    let _turn = FileLock::exclusive(&all.join(".lock-blank")).await?;
    if path.exists() {
        return Ok(path);
    }
    let part = all.join(format!("{name}.part"));
    fs::File::create(&part)?.set_len(place.size())?;
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

/// Makes an empty top over it: a copy of one made before, where there is one, as `qemu-img` takes its
/// time.
pub(super) async fn make_top(top: &Utf8Path, base: &Utf8Path) -> Result<(), OverlayError> {
    let blank = Utf8PathBuf::from(format!("{base}.top"));
    if blank.exists() {
        return blank::copy(&blank, top);
    }
    qcow2::create(top, base, Backing::Raw, None).await?;
    if let Some(_turn) = FileLock::try_exclusive(&base.with_file_name(".lock-top"))? {
        let part = Utf8PathBuf::from(format!("{blank}.part"));
        blank::copy(top, &part)?;
        fs::rename(part, blank)?;
    }
    Ok(())
}
