//! The record that lies beside an image: what it is, what is in it, how large its files are. A
//! value and its file; what becomes of images is the store's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, SystemTime};

use camino::Utf8Path;
use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::packages::{Difference, PackageList};

/// The version of the format that this banger writes and reads.
pub const FORMAT: u32 = 2;
/// The manifest's name in an image's directory.
pub const FILE_NAME: &str = "manifest.json";

/// An image's name: the blake3 hash of its root filesystem, kernel and initrd, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Takes a full digest, or returns `None` where `text` is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (text.len() == 64 && digits).then(|| Self(text.to_owned()))
    }

    /// All 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.to_hex().to_string())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("`{text}` is not an image's digest"))
    }
}

/// Why an image's manifest is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is missing or does not parse.
    #[error("{0}")]
    Broken(String),
    /// Another version of banger wrote it.
    #[error("its format is {0}, and this banger reads {FORMAT}")]
    Format(u32),
}

/// What an image is and what is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this format.
    pub format: u32,
    /// The image's name.
    pub digest: Digest,
    /// The Debian suite.
    pub suite: String,
    /// The mirror, where it was not Debian's own.
    pub mirror: Option<String>,
    /// What was asked for.
    pub packages: Requested,
    /// What is installed: package name (with `:arch` where it is foreign) to version.
    pub installed: BTreeMap<String, String>,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// When it was built, in RFC 3339, UTC.
    pub built: String,
    /// The sizes of the image's files in bytes, by name.
    pub files: BTreeMap<String, u64>,
    /// The sum of them.
    pub size: u64,
    /// Modules that the initrd should have and the kernel does not offer.
    pub missing_modules: Vec<String>,
}

/// The packages an image was built for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// Where the list came from, for people.
    pub origin: String,
    /// The list's hash, see [`PackageList::hash`].
    pub hash: String,
    /// The packages, sorted.
    pub list: BTreeSet<String>,
}

impl From<&PackageList> for Requested {
    fn from(list: &PackageList) -> Self {
        Self {
            origin: list.origin().to_string(),
            hash: list.hash(),
            list: list.iter().map(str::to_owned).collect(),
        }
    }
}

impl Manifest {
    /// Reads the manifest in an image's directory.
    ///
    /// # Errors
    /// Where there is none, it does not parse, or another banger's format is used.
    pub fn read(image: &Utf8Path) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Probe {
            format: u32,
        }
        let text = fs::read_to_string(image.join(FILE_NAME))
            .map_err(|error| ManifestError::Broken(error.to_string()))?;
        let broken = |error: serde_json::Error| {
            ManifestError::Broken(format!("its {FILE_NAME} does not parse: {error}"))
        };

        let Probe { format } = serde_json::from_str(&text).map_err(broken)?;
        if format != FORMAT {
            return Err(ManifestError::Format(format));
        }
        serde_json::from_str(&text).map_err(broken)
    }

    /// Checks that every file of the image is there in the size it was built.
    ///
    /// # Errors
    /// In words, at the first that is not.
    pub fn check_files(&self, image: &Utf8Path) -> Result<(), String> {
        for (name, expected) in &self.files {
            match fs::metadata(image.join(name)) {
                Ok(meta) if meta.len() == *expected => {}
                Ok(meta) => {
                    return Err(format!("`{name}` has {} bytes instead of {expected}", meta.len()));
                }
                Err(_) => return Err(format!("`{name}` is missing")),
            }
        }
        Ok(())
    }

    /// What `now` asks for more and less than the image was built for.
    #[must_use]
    pub fn difference(&self, now: &PackageList) -> Difference {
        Difference::between(&self.packages.list, &Requested::from(now).list)
    }

    /// When the image was built.
    #[must_use]
    pub fn built_at(&self) -> SystemTime {
        humantime::parse_rfc3339(&self.built).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// How long ago the image was built; zero where the clock has gone back.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.built_at()).unwrap_or_default()
    }
}

/// Reads which packages are installed from dpkg's status file.
#[must_use]
pub fn installed_packages(dpkg_status: &str, architecture: &str) -> BTreeMap<String, String> {
    let mut installed = BTreeMap::new();
    for paragraph in dpkg_status.split("\n\n") {
        let field = |name: &str| {
            let mut lines = paragraph.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim())
        };
        let (Some(name), Some(version)) = (field("Package"), field("Version")) else {
            continue;
        };
        if field("Status") != Some("install ok installed") {
            continue;
        }
        let name = match field("Architecture") {
            Some(arch) if arch != architecture && arch != "all" => format!("{name}:{arch}"),
            _ => name.to_owned(),
        };
        installed.insert(name, version.to_owned());
    }
    installed
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
Package: curl
Status: install ok installed
Architecture: amd64
Version: 7.88.1-10
Description: get
 Version: not this

Package: gone
Status: deinstall ok config-files
Version: 1

Package: tzdata
Status: install ok installed
Architecture: all
Version: 2025b

Package: libc6
Status: install ok installed
Architecture: arm64
Version: 2.36
";

    #[test]
    fn installed_packages_are_those_installed() {
        let got = installed_packages(STATUS, "amd64");
        let got: Vec<_> = got.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(got, [("curl", "7.88.1-10"), ("libc6:arm64", "2.36"), ("tzdata", "2025b")]);
    }

    #[test]
    fn digests_are_checked() {
        let digest = Digest::from(blake3::hash(b"x"));
        assert_eq!(Digest::parse(digest.as_str()), Some(digest.clone()));
        assert_eq!(digest.short().len(), 12);
        assert_eq!(Digest::parse("abc"), None);
        assert_eq!(Digest::parse(&digest.as_str().to_uppercase()), None);
    }

    #[test]
    fn another_format_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        assert!(Manifest::read(dir).is_err());
        fs::write(dir.join(FILE_NAME), r#"{"format": 99}"#).unwrap();
        assert_eq!(Manifest::read(dir).unwrap_err(), ManifestError::Format(99));
        fs::write(dir.join(FILE_NAME), "{").unwrap();
        assert!(Manifest::read(dir).unwrap_err().to_string().contains("does not parse"));
    }
}
