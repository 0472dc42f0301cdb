//! Which versions of Firecracker do.

use crate::host::tools::OLDEST_FIRECRACKER;
use crate::host::version::Version;
use crate::spec::VmmKind;
use crate::vmm::VmmError;

/// The first that may have another API.
const TOO_NEW: Version = Version::new(2, 0);

/// Refuses a version that does not do, in Firecracker's own words for it.
pub(super) fn check(text: &str) -> Result<(), VmmError> {
    match Version::find(text) {
        Some(version) if OLDEST_FIRECRACKER <= version && version < TOO_NEW => Ok(()),
        _ => Err(VmmError::Version {
            vmm: VmmKind::Firecracker,
            found: text.to_owned(),
            expected: "1.8 or later, and older than 2.0",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_a_range() {
        for good in ["1.8.0", "1.12.1", "1.14.0-dev"] {
            check(good).unwrap();
        }
        for bad in ["1.7.0", "2.0.0", "none"] {
            assert!(check(bad).unwrap_err().to_string().contains(bad));
        }
    }
}
