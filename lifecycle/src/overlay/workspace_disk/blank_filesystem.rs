//! The empty filesystem under every workspace disk's first generation, made once for each size.

use camino::Utf8PathBuf;
use fs_err as fs;
use tokio::process::Command;

use super::Place;
use crate::overlay::OverlayError;
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
