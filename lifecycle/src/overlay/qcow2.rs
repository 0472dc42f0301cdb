//! qcow2 overlays: a sparse private top over a backing file.

use std::io;
use std::os::unix::fs::FileExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use tokio::process::Command;

use super::OverlayError;
use crate::process::run_tool;

/// The longest name of a backing file that the format has room for.
const LONGEST_NAME: usize = 1023;

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

/// Has an empty top, which stands on a qcow2 file, stand on another of the same size: `qemu-img` takes its
/// time.
///
/// The format is QEMU's (docs/interop/qcow2.txt); all numbers are big-endian.
pub(crate) fn stand_on(top: &Utf8Path, backing: &Utf8Path) -> io::Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).open(top)?.into_parts().0;
    let mut header = [0; 24];
    file.read_exact_at(&mut header, 0)?;
    let number = |at: usize| header[at..at + 4].iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    let (magic, place, cluster_bits) = (&header[..4], number(8) << 32 | number(12), number(20));
    let name = real(backing).into_string();
    let fits = place > 0 && name.len() <= LONGEST_NAME && cluster_bits < 22;
    // The name stands in the first cluster, after everything else there.
    if magic != b"QFI\xfb" || !fits || place + name.len() as u64 > 1 << cluster_bits {
        return Err(io::Error::other(format!("`{top}` is no empty top for `{backing}`")));
    }
    let length = u32::try_from(name.len()).map_err(io::Error::other)?;
    file.write_all_at(name.as_bytes(), place)?;
    file.write_all_at(&length.to_be_bytes(), 16)
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
