//! glibc versions, from the two places that name them: symbol versions and Debian packages.

use std::fmt;

/// A release of glibc; releases compare by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GlibcVersion {
    /// The 2 of 2.36.
    pub major: u32,
    /// The 36 of 2.36.
    pub minor: u32,
}

impl GlibcVersion {
    /// Makes the version `major.minor`.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// Reads the version out of that of a `libc6` package, such as `2.36-9+deb12u10`.
    #[must_use]
    pub fn of_package(version: &str) -> Option<Self> {
        let upstream = version.rsplit_once(':').map_or(version, |(_epoch, rest)| rest);
        Self::at_start_of(upstream.trim())
    }

    /// The release that brought a symbol version such as `GLIBC_2.34`; `None` where the name is
    /// not glibc's.
    ///
    /// Names without a number stand for something special: one is known, and the others ask for
    /// more than any release that can be named here.
    pub(super) fn of_symbol_version(name: &str) -> Option<Self> {
        let version = name.strip_prefix("GLIBC_")?;
        let special =
            if version == "ABI_DT_RELR" { Self::new(2, 36) } else { Self::new(u32::MAX, u32::MAX) };
        Some(Self::at_start_of(version).unwrap_or(special))
    }

    fn at_start_of(text: &str) -> Option<Self> {
        let (major, rest) = text.split_once('.')?;
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        Some(Self { major: major.parse().ok()?, minor: rest[..end].parse().ok()? })
    }
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_debian_and_ubuntu_are_understood() {
        let version = |text| GlibcVersion::of_package(text).map(|version| version.to_string());
        assert_eq!(version("2.36-9+deb12u10").as_deref(), Some("2.36"));
        assert_eq!(version("2.31-13+deb11u11").as_deref(), Some("2.31"));
        assert_eq!(version("2.31-0ubuntu9.9\n").as_deref(), Some("2.31"));
        assert_eq!(version("2.28+r1-1").as_deref(), Some("2.28"));
        assert_eq!(version("1:2.41").as_deref(), Some("2.41"));
        for text in ["", "2", "two.three", "2.-1", "musl-1.2.3"] {
            assert_eq!(version(text), None, "{text}");
        }
    }

    #[test]
    fn symbol_versions_compare_by_number_and_strange_ones_are_newer_than_all() {
        let version = GlibcVersion::of_symbol_version;
        assert_eq!(version("GLIBC_2.2.5"), Some(GlibcVersion::new(2, 2)));
        assert!(version("GLIBC_2.4") < version("GLIBC_2.34"));
        assert_eq!(version("GLIBC_ABI_DT_RELR"), Some(GlibcVersion::new(2, 36)));
        assert!(version("GLIBC_PRIVATE") > version("GLIBC_2.99"));
        assert_eq!(version("GCC_3.0"), None);
    }
}
