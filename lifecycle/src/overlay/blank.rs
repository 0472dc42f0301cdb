//! The empty disk: what stands in a VM's slot for a disk that it was not given, and what a layer
//! of any size is put under, so that every VM of one shape sees disks of the same sizes.

use camino::Utf8Path;
use fs_err as fs;
use tokio::process::Command;

use super::OverlayError;
use crate::process::run_tool;
use crate::rundir::publish::publish;
use crate::rundir::{FileLock, Layout, private};

/// The size that the guest sees, in bytes: 64 GiB, which take up nothing.
pub(crate) const SIZE: u64 = 64 << 30;

/// Makes the empty disk, unless it is there.
pub(crate) async fn ensure(layout: &Layout) -> Result<camino::Utf8PathBuf, OverlayError> {
    let path = layout.blank_disk();
    if path.exists() {
        return Ok(path);
    }
    private::create_dir_all(layout.cache())?;
    let _turn = FileLock::exclusive(&layout.cache().join(".lock-blank")).await?;
    if path.exists() {
        return Ok(path);
    }
    let part = layout.cache().join("blank-v1.qcow2.part");
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", part.as_str(), &SIZE.to_string()]);
    run_tool(&mut create)
        .await
        .map_err(|source| OverlayError::Create { path: path.clone(), source })?;
    publish(&part, &path)?;
    Ok(path)
}

/// Copies a disk that holds next to nothing, for one VM to write to.
pub(crate) fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<(), OverlayError> {
    fs::copy(from, to)?;
    Ok(())
}
