//! Single operations on the guest's files, each with its failure named.
//!
//! All of them may be repeated: what is gone already counts as removed, and what is there already
//! as made, so that a push can pick up where a dead one stopped.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use openssh_sftp_client::metadata::{MetaData, MetaDataBuilder, Permissions};
use openssh_sftp_client::{Error as SftpError, Sftp, UnixTimeStamp};

use super::error::{SyncError, is_failure, is_missing};
use super::options::{Budget, PullOptions};
use super::plan::Target;

/// Requests under way at once for everything but file content.
pub(super) const IN_FLIGHT: usize = 64;

/// The most entries of a mirror that are removed at once: what a command left beside the sources.
const MOST_CLEARED: u64 = 1_500_000;

/// The longest name that a file of Linux has, in bytes.
const LONGEST_NAME: usize = 255;

/// Makes a directory; one that is there already will do.
pub(super) async fn make_directory(sftp: &Sftp, path: &Path) -> Result<(), SyncError> {
    let Err(error) = sftp.fs().create_dir(path).await else {
        return Ok(());
    };
    match sftp.fs().symlink_metadata(path).await {
        Ok(found) if is_directory(&found) => Ok(()),
        Ok(_) | Err(_) => Err(SyncError::guest("make directory", path, error)),
    }
}

/// Makes a directory and those above it.
pub(super) async fn make_directories(sftp: &Sftp, path: &Path) -> Result<(), SyncError> {
    if sftp.fs().metadata(path).await.is_ok_and(|found| is_directory(&found)) {
        return Ok(());
    }
    let mut ancestors: Vec<&Path> = path.ancestors().collect();
    ancestors.reverse();
    for ancestor in ancestors {
        // Following links here: the user may have linked a directory above the mirror.
        if !sftp.fs().metadata(ancestor).await.is_ok_and(|found| is_directory(&found)) {
            make_directory(sftp, ancestor).await?;
        }
    }
    Ok(())
}

/// Makes a link, in place of any file or link that is there.
pub(super) async fn make_symlink(sftp: &Sftp, target: &Path, path: &Path) -> Result<(), SyncError> {
    let mut outcome = sftp.fs().symlink(target, path).await;
    if outcome.as_ref().is_err_and(is_failure) {
        remove(sftp, path, Target::File).await?;
        outcome = sftp.fs().symlink(target, path).await;
    }
    outcome.map_err(|error| SyncError::guest("make link", path, error))
}

/// Sets a path's mode and, where one is given, its modification time.
pub(super) async fn set_metadata(
    sftp: &Sftp,
    path: &Path,
    mode: u32,
    seconds: Option<u32>,
) -> Result<(), SyncError> {
    let attributes = attributes(mode, seconds);
    let outcome = sftp.fs().set_metadata(path, attributes).await;
    outcome.map_err(|error| SyncError::guest("set the mode of", path, error))
}

/// Mode and modification time in the form that requests take.
pub(super) fn attributes(mode: u32, seconds: Option<u32>) -> MetaData {
    let mut builder = MetaDataBuilder::new();
    // Twelve bits always fit.
    builder.permissions(Permissions::from(u16::try_from(mode & 0o7777).unwrap_or(0)));
    if let Some(time) = seconds.and_then(UnixTimeStamp::from_raw) {
        builder.time(time, time);
    }
    builder.create()
}

/// Removes a path; what is gone already is fine.
pub(super) async fn remove(sftp: &Sftp, path: &Path, target: Target) -> Result<(), SyncError> {
    let outcome = match target {
        Target::File => sftp.fs().remove_file(path).await,
        Target::Directory => sftp.fs().remove_dir(path).await,
        Target::Any => return remove_any(sftp, path).await,
    };
    match outcome {
        Err(error) if is_failure(&error) => remove_any(sftp, path).await,
        outcome => gone(outcome, path),
    }
}

/// Removes whatever is at a path, with all that is in it.
async fn remove_any(sftp: &Sftp, path: &Path) -> Result<(), SyncError> {
    match sftp.fs().symlink_metadata(path).await {
        Ok(found) if is_directory(&found) => {}
        Ok(_) => return gone(sftp.fs().remove_file(path).await, path),
        Err(error) => return gone(Err(error), path),
    }
    clear(sftp, path).await?;
    gone(sftp.fs().remove_dir(path).await, path)
}

/// Removes all that is in a directory, and keeps the directory.
pub(super) async fn clear(sftp: &Sftp, path: &Path) -> Result<(), SyncError> {
    let mut directories = Vec::new();
    let mut files = Vec::new();
    let mut unseen = vec![path.to_owned()];
    let budget = Budget::new(PullOptions { max_entries: MOST_CLEARED, ..PullOptions::default() });
    while let Some(directory) = unseen.pop() {
        list(sftp, &directory, |name, metadata| {
            let path = directory.join(name);
            // Whole paths are held here.
            budget.entry(&directory, path.as_os_str().as_bytes())?;
            if is_directory(&metadata) {
                unseen.push(path)
            } else {
                files.push(path)
            }
            Ok(())
        })
        .await?;
        directories.push(directory);
    }
    let files = &files;
    each(
        files.len(),
        |at| async move { gone(sftp.fs().remove_file(&files[at]).await, &files[at]) },
    )
    .await?;
    // Each stands after its parent, and the first is the one to keep.
    for directory in directories.iter().skip(1).rev() {
        gone(sftp.fs().remove_dir(directory).await, directory)?;
    }
    Ok(())
}

/// Lists a directory without `.` and `..`, and hands each entry on as it comes.
///
/// Names come from the guest: one that could lead elsewhere, or is longer than any file's, is
/// refused. The directory may have no end: `found` has to count.
pub(super) async fn list(
    sftp: &Sftp,
    path: &Path,
    mut found: impl FnMut(&OsStr, MetaData) -> Result<(), SyncError>,
) -> Result<(), SyncError> {
    let failed = |error| SyncError::guest("list", path, error);
    let directory = sftp.fs().open_dir(path).await.map_err(failed)?;
    let mut entries = std::pin::pin!(directory.read_dir());
    while let Some(entry) = entries.next().await {
        let entry = entry.map_err(failed)?;
        let name = entry.filename().as_os_str();
        if name == "." || name == ".." {
            continue;
        }
        if let Some(reason) = fault(name.as_bytes()) {
            return Err(SyncError::Refused { path: path.join(name), reason });
        }
        let mut metadata = entry.metadata();
        if metadata.file_type().is_none() {
            let path = path.join(name);
            metadata = sftp.fs().symlink_metadata(&path).await.map_err(failed)?;
        }
        found(name, metadata)?;
    }
    Ok(())
}

/// What is wrong with a name that should be one component of a path.
pub(super) fn fault(name: &[u8]) -> Option<&'static str> {
    match name {
        b"" => Some("the name is empty"),
        b"." | b".." => Some("the name leads elsewhere"),
        _ if name.contains(&b'/') => Some("the name leads elsewhere"),
        _ if name.contains(&0) => Some("the name holds a zero byte"),
        _ if name.len() > LONGEST_NAME => Some("the name is longer than 255 bytes"),
        _ => None,
    }
}

pub(super) fn is_directory(metadata: &MetaData) -> bool {
    metadata.file_type().is_some_and(|kind| kind.is_dir())
}

/// Does something for each of the first `count` numbers, many at a time, until one fails.
///
/// Numbers and not references to items: of futures made from those, rustc cannot see that they
/// may move between threads.
pub(super) async fn each<F>(count: usize, work: impl FnMut(usize) -> F) -> Result<(), SyncError>
where
    F: Future<Output = Result<(), SyncError>>,
{
    stream::iter(0..count).map(work).buffer_unordered(IN_FLIGHT).try_collect::<()>().await
}

fn gone(outcome: Result<(), SftpError>, path: &Path) -> Result<(), SyncError> {
    match outcome {
        Err(error) if !is_missing(&error) => Err(SyncError::guest("remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for name in ["a", "...", "a b", "a\nb", "-rf", "..a", "\u{fffd}"] {
            assert_eq!(fault(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(fault(&[b'x'; 255]), None);
        assert!(fault(&[b'x'; 256]).is_some());
        for name in ["", ".", "..", "/", "/etc/passwd", "a/b", "../x", "a\0b"] {
            assert!(fault(name.as_bytes()).is_some(), "{name:?}");
        }
    }
}
