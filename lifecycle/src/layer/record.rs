//! What a layer is called and what stands in its `layer.json`.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::Utf8Path;
use serde::{Deserialize, Serialize};

use crate::rundir::Sums;

/// The version of the directory's format; another version is built anew.
pub(super) const FORMAT: u32 = 2;

/// The image's name in a layer's directory.
pub(super) const IMAGE: &str = "layer.erofs";
/// The record's name.
pub(super) const RECORD: &str = "layer.json";

/// What a layer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerKind {
    /// A Rust toolchain of the host.
    Toolchain,
    /// The vendored crates of one `Cargo.lock`.
    Dependencies,
    /// Executables of the host.
    Programs,
}

impl LayerKind {
    /// The kind's name, in directory names and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Toolchain => "toolchain",
            Self::Dependencies => "dependencies",
            Self::Programs => "programs",
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A layer's kind and content key; prints as the name of its directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId {
    /// What it holds.
    pub kind: LayerKind,
    /// The first 128 bits of a BLAKE3 hash of all that goes in, as hex.
    pub key: String,
}

impl LayerId {
    /// Names a layer after the hash of all that goes into it.
    pub(super) fn new(kind: LayerKind, hash: &blake3::Hash) -> Self {
        Self { kind, key: hash.to_hex()[..32].to_owned() }
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind, self.key)
    }
}

impl FromStr for LayerId {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let (kind, key) = name.split_once('-').ok_or(())?;
        let kind = match kind {
            "toolchain" => LayerKind::Toolchain,
            "dependencies" => LayerKind::Dependencies,
            "programs" => LayerKind::Programs,
            _ => return Err(()),
        };
        let is_key = key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_key { Ok(Self { kind, key: key.to_owned() }) } else { Err(()) }
    }
}

/// One stored layer, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// Its kind and key.
    pub id: LayerId,
    /// What is in it, for people: a toolchain's path, a number of crates.
    pub what: String,
    /// The image's size in bytes.
    pub size: u64,
    /// When it was made.
    pub built: SystemTime,
    /// When a VM last asked for it.
    pub used: SystemTime,
    /// Whether a VM uses it now.
    pub in_use: bool,
    /// Whether it is not whole, so that the next use makes it anew.
    pub damaged: bool,
}

/// The content of `layer.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LayerRecord {
    /// Version of the format.
    pub(super) format: u32,
    /// What it holds.
    pub(super) kind: LayerKind,
    /// Its content key.
    pub(super) key: String,
    /// What is in it, for people.
    pub(super) what: String,
    /// The image's size in bytes.
    pub(super) size: u64,
    /// Its checksum.
    pub(super) sums: Sums,
    /// When it was made, in seconds since 1970.
    pub(super) built: u64,
}

impl LayerRecord {
    /// Describes an image of `size` bytes made just now.
    pub(super) fn now(id: &LayerId, what: String, size: u64, sums: Sums) -> Self {
        let built = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        Self { format: FORMAT, kind: id.kind, key: id.key.clone(), what, size, sums, built }
    }

    /// Reads the record in a layer's directory, and holds it against the image beside it.
    ///
    /// Returns `None` where the layer is not whole: no record, another format, another size.
    pub(super) fn read_whole(dir: &Utf8Path, id: &LayerId) -> Option<Self> {
        let text = fs_err::read_to_string(dir.join(RECORD)).ok()?;
        let record: Self = serde_json::from_str(&text).ok()?;
        let size = fs_err::metadata(dir.join(IMAGE)).ok()?.len();
        let same = record.format == FORMAT && record.kind == id.kind && record.key == id.key;
        (same && record.size == size).then_some(record)
    }

    /// When it was made.
    pub(super) fn built(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.built)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layers_name_reads_back() {
        let id = LayerId::new(LayerKind::Dependencies, &blake3::hash(b"x"));
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["toolchain", "toolchain-", "other-0123", ".tmp-toolchain-00", "toolchain-../x"]
        {
            assert_eq!(bad.parse::<LayerId>(), Err(()), "{bad}");
        }
    }
}
