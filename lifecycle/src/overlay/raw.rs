//! Raw disks, for a VMM that knows no other: private copies that share their blocks with the original
//! where the filesystem can (`FICLONE`: btrfs, XFS), and keep its holes everywhere.

use camino::Utf8Path;
use fs_err as fs;
use tokio::process::Command;

use super::OverlayError;
use crate::process::run_tool;

/// Copies a file with its holes. The copy has the original's owner's rights and may be written to.
pub(crate) async fn copy(from: &Utf8Path, to: &Utf8Path) -> Result<(), OverlayError> {
    let mut copy = Command::new("cp");
    copy.args(["--reflink=auto", "--sparse=always", "--no-preserve=mode", "--"]).args([from, to]);
    run_tool(&mut copy)
        .await
        .map_err(|source| OverlayError::Create { path: to.to_owned(), source })?;
    Ok(fs::set_permissions(to, std::os::unix::fs::PermissionsExt::from_mode(0o600))?)
}

/// Copies a disk and makes the copy `size` bytes long.
pub(crate) async fn copy_larger(
    from: &Utf8Path,
    to: &Utf8Path,
    size: u64,
) -> Result<(), OverlayError> {
    copy(from, to).await?;
    Ok(fs::OpenOptions::new().write(true).open(to)?.set_len(size)?)
}

/// Makes a disk of zeros, which take up nothing.
pub(crate) fn zeros(path: &Utf8Path, size: u64) -> Result<(), OverlayError> {
    Ok(fs::File::create(path)?.set_len(size)?)
}

/// Gives back the blocks of a file that hold zeros.
pub(crate) async fn dig_holes(path: &Utf8Path) -> Result<(), OverlayError> {
    let mut dig = Command::new("fallocate");
    dig.args(["--dig-holes", path.as_str()]);
    run_tool(&mut dig)
        .await
        .map(drop)
        .map_err(|source| OverlayError::Create { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overlay::qcow2::allocated;

    #[tokio::test]
    async fn holes_stay_holes_and_a_copy_can_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let (one, other) = (dir.join("one"), dir.join("other"));
        zeros(&one, 64 << 20).unwrap();
        fs::set_permissions(&one, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
        copy_larger(&one, &other, 128 << 20).await.unwrap();
        assert_eq!(fs::metadata(&other).unwrap().len(), 128 << 20);
        assert!(allocated(&other).unwrap() < 1 << 20);
        fs::OpenOptions::new().write(true).open(&other).unwrap();
    }
}
