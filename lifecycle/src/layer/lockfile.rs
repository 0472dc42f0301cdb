//! Reading a `Cargo.lock` for what has to be vendored.

use camino::Utf8Path;
use serde::Deserialize;

use crate::input_file::{self, LOCKFILE_LIMIT};
use crate::layer::error::LayerError;

/// One package of a lock file that comes from a registry or a git repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct LockedPackage {
    pub(super) name: String,
    pub(super) version: String,
    /// As cargo writes it: `registry+…`, `sparse+…`, or `git+…#<commit>`.
    pub(super) source: String,
    #[serde(default)]
    pub(super) checksum: Option<String>,
}

impl LockedPackage {
    /// The first digits of the commit, where the package comes from a git repository.
    pub(super) fn commit(&self) -> Option<&str> {
        let (_, commit) = self.source.strip_prefix("git+")?.rsplit_once('#')?;
        Some(&commit[..commit.len().min(12)])
    }
}

/// Reads the packages with a source, in a fixed order. Any version of the format will do.
pub(super) fn read(path: &Utf8Path) -> Result<Vec<LockedPackage>, LayerError> {
    let text = input_file::read_text(path, LOCKFILE_LIMIT).map_err(LayerError::ReadLockfile)?;
    parse(&text).map_err(|source| LayerError::ParseLockfile { path: path.to_owned(), source })
}

/// A workspace's own packages have no source and are left out.
#[derive(Deserialize)]
struct Lockfile {
    #[serde(default)]
    package: Vec<AnyPackage>,
}

#[derive(Deserialize)]
struct AnyPackage {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

fn parse(text: &str) -> Result<Vec<LockedPackage>, toml::de::Error> {
    let lockfile: Lockfile = toml::from_str(text)?;
    let mut packages: Vec<LockedPackage> = lockfile
        .package
        .into_iter()
        .filter_map(|AnyPackage { name, version, source, checksum }| {
            Some(LockedPackage { name, version, source: source?, checksum })
        })
        .collect();
    packages.sort();
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: &str = r#"
version = 4

[[package]]
name = "zebra"
version = "1.0.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
checksum = "aa"

[[package]]
name = "app"
version = "0.1.0"
dependencies = ["gitdep", "zebra"]

[[package]]
name = "gitdep"
version = "0.1.0"
source = "git+https://example.com/gitdep?branch=a%2Fb#b2ee18ea05815f60f5c972920699b4c60f0ed1b1"
"#;

    #[test]
    fn packages_with_a_source_come_sorted() {
        let packages = parse(V4).unwrap();
        let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["gitdep", "zebra"]);
        assert_eq!(packages[0].commit(), Some("b2ee18ea0581"));
        assert_eq!(packages[1].commit(), None);
        assert_eq!(packages[1].checksum.as_deref(), Some("aa"));
    }

    #[test]
    fn older_formats_are_read_alike() {
        let v3 = V4.replace("version = 4", "version = 3");
        assert_eq!(parse(&v3).unwrap(), parse(V4).unwrap());
        // The first format kept its checksums in a table at the end.
        let v1 = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+x\"\n\
                  [metadata]\n\"checksum a 1.0.0 (registry+x)\" = \"aa\"\n";
        assert_eq!(parse(v1).unwrap()[0].checksum, None);
        assert_eq!(parse("version = 4\n").unwrap(), []);
    }

    #[test]
    fn a_broken_lock_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::try_from(dir.path().join("Cargo.lock")).unwrap();
        assert!(matches!(read(&path), Err(LayerError::ReadLockfile(_))));
        fs_err::write(&path, "[[package]").unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot understand `{path}`"));
    }
}
