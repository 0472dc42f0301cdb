//! Names of what is not an image yet or any more, and its removal once nobody works on it.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use crate::image::manifest::Digest;
use crate::rundir::FileLock;

const BUILD: &str = ".build-";
const GONE: &str = ".gone-";

/// The file whose lock the builder of a content key holds.
pub(super) fn lock_path(store: &Utf8Path, key: &str) -> Utf8PathBuf {
    store.join(format!(".lock-{key}"))
}

/// How the directories begin in which a content key is built.
pub(super) fn build_prefix(key: &str) -> String {
    format!("{BUILD}{key}-")
}

/// The name of an image being removed.
pub(super) fn gone_name(digest: &Digest) -> String {
    format!("{GONE}{digest}-{}", std::process::id())
}

/// Removes builds whose builder is dead and images half removed. `held` is the content key whose
/// lock the caller holds. Returns how many it removed.
pub(super) fn sweep(store: &Utf8Path, held: Option<&str>) -> usize {
    let Ok(entries) = fs::read_dir(store) else {
        return 0;
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| is_dead(store, name, held) && remove(&store.join(name))).count()
}

fn is_dead(store: &Utf8Path, name: &str, held: Option<&str>) -> bool {
    if name.starts_with(GONE) {
        return true;
    }
    let Some((key, _)) = name.strip_prefix(BUILD).and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    // A builder takes the lock before it makes the directory, so a free lock proves it dead.
    held == Some(key)
        || FileLock::try_exclusive(&lock_path(store, key)).is_ok_and(|lock| lock.is_some())
}

fn remove(path: &Utf8Path) -> bool {
    match fs::remove_dir_all(path) {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "a dead build stays");
            false
        }
    }
}
