//! What names the newest generation of a disk, and those under it.

use std::collections::BTreeMap;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::Part;
use crate::process::unless_gone;
use crate::rundir::publish;

/// The newest generation of a workspace disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) format: u32,
    pub(super) workspace: Utf8PathBuf,
    pub(super) id: u64,
    /// File names, oldest first.
    pub(super) chain: Vec<String>,
    /// File names of the sync manifests, by root key.
    pub(super) manifests: BTreeMap<String, String>,
}

impl Head {
    /// Before 3, sources and what was built were on one disk.
    pub(super) const FORMAT: u32 = 3;

    /// Reads the head; anything amiss means a fresh start.
    pub(super) fn read(dir: &Utf8Path, part: Part) -> Option<Self> {
        let text = fs::read(path(dir, part)).ok()?;
        let head: Self = serde_json::from_slice(&text).ok()?;
        let whole = head.format == Self::FORMAT && head.chain.iter().all(|f| dir.join(f).exists());
        whole.then_some(head)
    }

    /// Puts it in the place of the one before, in one step.
    pub(super) fn write(&self, dir: &Utf8Path, part: Part) -> io::Result<()> {
        // With the directory, so also the names of what it names.
        publish::write(&path(dir, part), &serde_json::to_vec_pretty(self)?)
    }

    /// Removes it: the next run starts afresh.
    pub(super) fn remove(dir: &Utf8Path, part: Part) -> io::Result<()> {
        unless_gone(fs::remove_file(path(dir, part)))
    }

    /// The file name of the newest generation.
    pub(super) fn newest(&self) -> Option<&str> {
        self.chain.last().map(String::as_str)
    }

    /// Whether it names a file.
    pub(super) fn names(&self, file: &str) -> bool {
        self.chain.iter().any(|name| name == file)
            || self.manifests.values().any(|name| name == file)
    }
}

fn path(dir: &Utf8Path, part: Part) -> Utf8PathBuf {
    dir.join(format!("{}.json", part.name()))
}
