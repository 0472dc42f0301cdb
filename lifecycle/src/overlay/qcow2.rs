//! qcow2 overlays: a sparse private top over a backing file.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use tokio::process::Command;

use super::OverlayError;
use crate::process::run_tool;

/// The format of a backing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    Raw,
    Qcow2,
}

/// Creates `path` over `backing`, `extra` bytes larger than it.
///
/// The virtual size is what limits the overlay: the guest's filesystem grows into it and then
/// reports "no space left", as on any disk.
pub(crate) async fn create(
    path: &Utf8Path,
    backing: &Utf8Path,
    format: Backing,
    size: Option<u64>,
) -> Result<(), OverlayError> {
    let format = match format {
        Backing::Raw => "raw",
        Backing::Qcow2 => "qcow2",
    };
    let (backing, size) = (real(backing), size.map(|bytes| bytes.to_string()));
    let mut arguments = vec!["-F", format, "-b", backing.as_str(), path.as_str()];
    arguments.extend(size.as_deref());
    qemu_img(path, &arguments).await
}

/// Creates `path` over a qcow2 file that will be at `backing`, of `size` bytes as the guest sees it.
pub(crate) async fn create_ahead(
    path: &Utf8Path,
    backing: &Utf8Path,
    size: u64,
) -> Result<(), OverlayError> {
    let (backing, size) = (real(backing), size.to_string());
    qemu_img(path, &["-u", "-F", "qcow2", "-b", backing.as_str(), path.as_str(), &size]).await
}

/// Creates `path` over the qcow2 file `name` in the same directory, wherever that will be.
pub(crate) async fn create_beside(path: &Utf8Path, name: &str) -> Result<(), OverlayError> {
    qemu_img(path, &["-F", "qcow2", "-b", name, path.as_str()]).await
}

/// Creates `path`, as the arguments say.
async fn qemu_img(path: &Utf8Path, arguments: &[&str]) -> Result<(), OverlayError> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2"]).args(arguments);
    run_tool(&mut command)
        .await
        .map(drop)
        .map_err(|source| OverlayError::Create { path: path.to_owned(), source })
}

/// The path without symbolic links in its directories: disks outlive the links that led to them.
fn real(path: &Utf8Path) -> Utf8PathBuf {
    // The last directories may not be there yet.
    let mut directories = path.ancestors().skip(1);
    let real = directories.find_map(|dir| Some((dir, dir.canonicalize_utf8().ok()?)));
    let joined = real.and_then(|(dir, real)| Some(real.join(path.strip_prefix(dir).ok()?)));
    joined.unwrap_or_else(|| path.to_owned())
}

/// Bytes that a sparse file really takes up.
pub(crate) fn allocated(path: &Utf8Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(fs::metadata(path)?.blocks() * 512)
}
