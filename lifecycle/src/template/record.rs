//! What stands in a template's `template.json`.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::rundir::Sums;

/// The version of the directory's format; another version is made anew.
pub(super) const FORMAT: u32 = 2;

/// The record's name.
const RECORD: &str = "template.json";

/// One stored template, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateInfo {
    /// Its key: 32 hexadecimal digits.
    pub key: String,
    /// What it is, for people: image, size, process 1, VMM.
    pub what: String,
    /// The digest of its image, unless the user gave a root disk.
    pub image: Option<String>,
    /// The workspace that is in place in it, if one is.
    pub workspace: Option<Utf8PathBuf>,
    /// What it takes up on disk, in bytes.
    pub size: u64,
    /// When it was made.
    pub built: SystemTime,
    /// When a VM last started from it.
    pub used: SystemTime,
    /// Whether a VM runs from it now.
    pub in_use: bool,
    /// Whether it is not whole, so that the next use makes it anew.
    pub damaged: bool,
}

/// What a template is, as whoever makes it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    /// For people.
    pub(crate) what: String,
    /// The digest of its image.
    pub(crate) image: Option<String>,
    /// The workspace that is in place in it.
    pub(crate) workspace: Option<Utf8PathBuf>,
    /// A file that it cannot do without.
    pub(crate) stands_on: Option<Utf8PathBuf>,
}

/// The content of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TemplateRecord {
    format: u32,
    key: String,
    /// What it is, for people.
    pub(super) what: String,
    /// The digest of its image.
    pub(super) image: Option<String>,
    /// The workspace that is in place in it.
    #[serde(default)]
    pub(super) workspace: Option<Utf8PathBuf>,
    /// A file that it cannot do without.
    #[serde(default)]
    stands_on: Option<Utf8PathBuf>,
    /// The length of every file in it, by name.
    files: BTreeMap<String, u64>,
    /// Their checksums.
    pub(super) sums: Sums,
    /// When it was made, in seconds since 1970.
    built: u64,
}

impl TemplateRecord {
    /// Describes what is in a directory now; blocks for as long as it takes to read all of it.
    pub(super) fn of(dir: &Utf8Path, key: &str, content: &Content) -> std::io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in dir.read_dir_utf8()? {
            let entry = entry?;
            files.insert(entry.file_name().to_owned(), entry.metadata()?.len());
        }
        let sums = Sums::of(dir, files.keys().map(String::as_str))?;
        let built = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let Content { what, image, workspace, stands_on } = content.clone();
        let key = key.to_owned();
        Ok(Self { format: FORMAT, key, what, image, workspace, stands_on, files, sums, built })
    }

    /// Writes it into the directory.
    pub(super) fn write(&self, dir: &Utf8Path) -> std::io::Result<()> {
        fs::write(dir.join(RECORD), serde_json::to_vec_pretty(self)?)
    }

    /// Reads the record in a template's directory, and holds it against the files beside it.
    ///
    /// Returns `None` where the template is not whole: no record, another format, a file gone or
    /// cut short, or one that it stands on gone.
    pub(super) fn read_whole(dir: &Utf8Path, key: &str) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(dir.join(RECORD)).ok()?).ok()?;
        let length = |name: &String| fs::metadata(dir.join(name)).ok().map(|file| file.len());
        let whole = record.files.iter().all(|(name, expected)| length(name) == Some(*expected))
            && record.stands_on.as_ref().is_none_or(|file| file.exists());
        (record.format == FORMAT && record.key == key && whole).then_some(record)
    }

    /// When it was made.
    pub(super) fn built(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.built)
    }
}

/// What a directory's files take up, in bytes: they have holes.
pub(super) fn allocated(dir: &Utf8Path) -> u64 {
    let Ok(entries) = dir.read_dir_utf8() else { return 0 };
    let blocks = |entry: std::io::Result<camino::Utf8DirEntry>| entry?.metadata();
    entries.filter_map(|entry| Some(blocks(entry).ok()?.blocks() * 512)).sum()
}
