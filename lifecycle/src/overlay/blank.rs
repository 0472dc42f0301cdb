//! The empty disk: what stands in a VM's slot for a disk that it was not given, and what a layer
//! of any size is put under, so that every VM of one shape sees disks of the same sizes.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use tokio::process::Command;

use super::{OverlayError, qcow2};
use crate::process::run_tool;
use crate::rundir::publish::publish;
use crate::rundir::{FileLock, Layout, private};

/// The size that the guest sees of a layer's disk, in bytes: 64 GiB, which take up nothing.
pub(crate) const SIZE: u64 = 64 << 30;

/// Makes the empty disk of layers' slots, unless it is there.
pub(crate) async fn ensure(layout: &Layout) -> Result<Utf8PathBuf, OverlayError> {
    of_size(layout, SIZE).await
}

/// Makes the empty disk that is `size` bytes long as a guest sees it, unless it is there.
pub(crate) async fn of_size(layout: &Layout, size: u64) -> Result<Utf8PathBuf, OverlayError> {
    let path = layout.blank_disk(size);
    if path.exists() {
        return Ok(path);
    }
    private::create_dir_all(layout.cache())?;
    let _turn = FileLock::exclusive(&layout.cache().join(".lock-blank")).await?;
    if path.exists() {
        return Ok(path);
    }
    let part = Utf8PathBuf::from(format!("{path}.part"));
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", part.as_str(), &size.to_string()]);
    run_tool(&mut create)
        .await
        .map_err(|source| OverlayError::Create { path: path.clone(), source })?;
    publish(&part, &path)?;
    Ok(path)
}

/// Makes the empty top of that size which is to [stand on](qcow2::stand_on) a qcow2 file, unless it is
/// there.
pub(crate) async fn top_of_size(layout: &Layout, size: u64) -> Result<Utf8PathBuf, OverlayError> {
    let path = layout.blank_top(size);
    if path.exists() {
        return Ok(path);
    }
    let _turn = FileLock::exclusive(&layout.cache().join(".lock-blank")).await?;
    if !path.exists() {
        let part = Utf8PathBuf::from(format!("{path}.part"));
        qcow2::create_ahead(&part, Utf8Path::new("/"), size).await?;
        fs::rename(part, &path)?;
    }
    Ok(path)
}

/// Copies a disk that holds next to nothing, for one VM to write to.
pub(crate) fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<(), OverlayError> {
    fs::copy(from, to)?;
    Ok(())
}
