//! The one reader of `packages.apt`: which Debian packages a guest has. Knows the file's syntax;
//! whether a package exists is for apt to say.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use crate::input_file::{self, LIST_LIMIT};

const BUILTIN: &str = include_str!("../../../packages.apt");

/// What a guest cannot be booted and reached without, whatever `packages.apt` says.
pub const REQUIRED: [&str; 9] = [
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "dbus",
    "udev",
    "openssh-server",
    "iproute2",
    "kmod",
    "e2fsprogs",
    "busybox-static",
];

/// Why a package list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// The file cannot be read.
    #[error("cannot read the package list")]
    Read(#[source] io::Error),
    /// A line is not a package.
    #[error("{origin}, line {line}: `{text}` is not a Debian package name")]
    Line {
        /// The list.
        origin: Origin,
        /// The line's number, from 1.
        line: usize,
        /// The line without its comment.
        text: String,
    },
}

impl PackagesError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read(_) => None,
            Self::Line { .. } => Some(
                "write one package a line: `name`, `name:arch` or `name=version`, and comments \
                 after `#`"
                    .to_owned(),
            ),
        }
    }
}

/// Where a package list came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The list banger was built with.
    Builtin,
    /// A file.
    File(Utf8PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin => f.write_str("the built-in package list"),
            Self::File(path) => write!(f, "`{path}`"),
        }
    }
}

/// Package names, sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageList {
    names: BTreeSet<String>,
    origin: Origin,
}

impl PackageList {
    /// Reads a list from text.
    ///
    /// # Errors
    /// At the first line that is neither a package, a comment nor blank.
    pub fn parse(text: &str, origin: Origin) -> Result<Self, PackagesError> {
        let mut names = BTreeSet::new();
        for (index, line) in text.lines().enumerate() {
            let text = line.split('#').next().unwrap_or_default().trim();
            if text.is_empty() {
                continue;
            }
            if !is_package(text) {
                let (line, text) = (index + 1, text.to_owned());
                return Err(PackagesError::Line { origin, line, text });
            }
            names.insert(text.to_owned());
        }
        Ok(Self { names, origin })
    }

    /// Reads a `packages.apt` file. The list remembers the file's canonical path.
    ///
    /// # Errors
    /// As [`PackageList::parse`], and where the file cannot be read.
    pub fn read(path: &Utf8Path) -> Result<Self, PackagesError> {
        let text = input_file::read_text(path, LIST_LIMIT).map_err(PackagesError::Read)?;
        let path = path.canonicalize_utf8().unwrap_or_else(|_| path.to_owned());
        Self::parse(&text, Origin::File(path))
    }

    /// The list banger was built with.
    #[must_use]
    pub fn builtin() -> Self {
        Self::parse(BUILTIN, Origin::Builtin).expect("the repository's packages.apt parses")
    }

    /// This list with [`REQUIRED`] added.
    #[must_use]
    pub fn with_required(&self) -> Self {
        let mut all = self.clone();
        let asked: BTreeSet<&str> = self.names.iter().map(|name| bare(name)).collect();
        let extra = REQUIRED.iter().filter(|name| !asked.contains(**name));
        all.names.extend(extra.map(|name| (*name).to_owned()));
        all
    }

    /// Where the list came from.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The packages, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The blake3 hash of the names, in hexadecimal. Comments and order do not change it.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for name in &self.names {
            hasher.update(name.as_bytes()).update(b"\n");
        }
        hasher.finalize().to_hex().to_string()
    }

    /// What `newer` has more and less than this list.
    #[must_use]
    pub fn difference(&self, newer: &Self) -> Difference {
        Difference::between(&self.names, &newer.names)
    }
}

/// How one package list differs from an older one. `{}` prints `+added -removed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// In the newer list only, sorted.
    pub added: Vec<String>,
    /// In the older list only, sorted.
    pub removed: Vec<String>,
}

impl Difference {
    pub(super) fn between(older: &BTreeSet<String>, newer: &BTreeSet<String>) -> Self {
        Self {
            added: newer.difference(older).cloned().collect(),
            removed: older.difference(newer).cloned().collect(),
        }
    }

    /// Whether the lists are the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added = self.added.iter().map(|name| ('+', name));
        let removed = self.removed.iter().map(|name| ('-', name));
        for (index, (sign, name)) in added.chain(removed).enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{sign}{name}")?;
        }
        Ok(())
    }
}

/// A name without architecture and version.
fn bare(package: &str) -> &str {
    package.split([':', '=']).next().unwrap_or_default()
}

fn is_package(text: &str) -> bool {
    let (rest, version) = match text.split_once('=') {
        Some((rest, version)) => (rest, Some(version)),
        None => (text, None),
    };
    let (name, arch) = match rest.split_once(':') {
        Some((name, arch)) => (name, Some(arch)),
        None => (rest, None),
    };
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    is_name(name)
        && arch.is_none_or(|arch| {
            arch.starts_with(lower) && arch.chars().all(|c| lower(c) || c == '-')
        })
        && version.is_none_or(|version| {
            version.starts_with(|c: char| c.is_ascii_digit())
                && version.chars().all(|c| c.is_ascii_alphanumeric() || ".+~:-".contains(c))
        })
}

/// A final `-` is refused though Debian allows it: no package has one, and to apt it means "remove".
fn is_name(name: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() >= 2
        && name.starts_with(lower)
        && !name.ends_with('-')
        && name.chars().all(|c| lower(c) || "+.-".contains(c))
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    fn parse(text: &str) -> Result<PackageList, PackagesError> {
        PackageList::parse(text, Origin::File("/p/packages.apt".into()))
    }

    fn names(list: &PackageList) -> Vec<&str> {
        list.iter().collect()
    }

    #[test]
    fn comments_blank_lines_and_order_do_not_matter() {
        let list = parse("# head\n\n  git  # why\ncurl\ngit\n\tg++\n").unwrap();
        assert_eq!(names(&list), ["curl", "g++", "git"]);
        assert_eq!(list.hash(), parse("curl\ng++\ngit").unwrap().hash());
        assert_ne!(list.hash(), parse("curl\ng++").unwrap().hash());
    }

    #[test]
    fn what_a_package_may_look_like() {
        for good in
            ["curl", "libstdc++6", "gcc:arm64", "curl=7.88.1-10+deb12u8", "a0", "xz:any=1:2~rc1-3"]
        {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "Curl",
            "a",
            "-curl",
            "curl-",
            "curl git",
            "curl,git",
            "curl=",
            "curl:",
            "curl/sid",
            "curl=v1",
            "foo_bar",
            "+x",
            "--help",
            "curl=1:1 git",
            "käse",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_error_names_file_line_and_text() {
        let error = parse("curl\n\nFoo bar # x\n").unwrap_err();
        let text = error.to_string();
        assert_eq!(text, "`/p/packages.apt`, line 3: `Foo bar` is not a Debian package name");
        assert!(error.hint().is_some());
    }

    #[test]
    fn differences_are_told() {
        let difference = parse("a0\nb0").unwrap().difference(&parse("b0\nc0\nd0").unwrap());
        assert_eq!(difference.to_string(), "+c0 +d0 -a0");
        assert!(!difference.is_empty());
        assert!(parse("a0").unwrap().difference(&parse("a0").unwrap()).is_empty());
    }

    #[test]
    fn required_packages_are_added_once() {
        let list = parse("udev=252.1\nkmod").unwrap().with_required();
        assert!(names(&list).contains(&"udev=252.1"));
        assert!(!names(&list).contains(&"udev"));
        assert_eq!(names(&list).len(), REQUIRED.len());
        let twice = list.with_required();
        assert_eq!(twice, list);
    }

    #[test]
    fn the_builtin_list_parses() {
        assert_eq!(PackageList::builtin().origin(), &Origin::Builtin);
        assert!(names(&PackageList::builtin()).contains(&"ca-certificates"));
    }

    #[test]
    fn a_file_is_known_by_its_canonical_path() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap().canonicalize_utf8().unwrap();
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("packages.apt"), "git\n").unwrap();
        let list = PackageList::read(&dir.join("sub/../packages.apt")).unwrap();
        assert_eq!(list.origin(), &Origin::File(dir.join("packages.apt")));
        assert!(matches!(PackageList::read(&dir.join("none")), Err(PackagesError::Read(_))));
    }
}
