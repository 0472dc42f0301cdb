//! How much a VM may write.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// How much a VM may write to its root disk beyond its image, in MiB.
///
/// Written as `512M`, `8G` or a plain number of MiB; 64 MiB to 1 TiB, 8 GiB unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "SizeText", into = "String")]
pub struct OverlaySize(u64);

/// A size in a settings file: a number of MiB, or text.
#[derive(Deserialize)]
#[serde(untagged)]
enum SizeText {
    Mib(u64),
    Text(String),
}

impl TryFrom<SizeText> for OverlaySize {
    type Error = InvalidValue;

    fn try_from(size: SizeText) -> Result<Self, Self::Error> {
        match size {
            SizeText::Mib(mib) => mib.to_string().parse(),
            SizeText::Text(text) => text.parse(),
        }
    }
}

impl From<OverlaySize> for String {
    fn from(size: OverlaySize) -> Self {
        size.to_string()
    }
}

impl OverlaySize {
    /// How large each of a workspace's disks is, unless said otherwise: 32 GiB.
    pub const OF_WORKSPACE_DISKS: Self = Self(32 << 10);

    /// The size in MiB.
    #[must_use]
    pub const fn mib(self) -> u64 {
        self.0
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 << 20
    }
}

impl Default for OverlaySize {
    fn default() -> Self {
        Self(8 << 10)
    }
}

impl FromStr for OverlaySize {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (digits, shift) = match text.as_bytes().last() {
            Some(b'T' | b't') => (&text[..text.len() - 1], 20),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 0),
            _ => (text, 0),
        };
        let mib = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
        match mib {
            Some(mib @ 64..=1_048_576) => Ok(Self(mib)),
            _ => Err(InvalidValue {
                value: text.to_owned(),
                what: "overlay size",
                expected: "a number of MiB or a size such as 512M or 8G, from 64M to 1T",
            }),
        }
    }
}

impl fmt::Display for OverlaySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1024) {
            write!(f, "{}G", self.0 / 1024)
        } else {
            write!(f, "{}M", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_mib_or_have_a_suffix() {
        assert_eq!("512".parse::<OverlaySize>().unwrap().mib(), 512);
        assert_eq!("8G".parse::<OverlaySize>().unwrap().bytes(), 8 << 30);
        assert_eq!("1T".parse::<OverlaySize>().unwrap().to_string(), "1024G");
        for bad in ["", "G", "63", "2T", "8GB", "-1", "99999999999999999999G"] {
            assert!(bad.parse::<OverlaySize>().is_err(), "{bad}");
        }
        let size: OverlaySize = serde_json::from_str("\"2G\"").unwrap();
        assert_eq!(size.mib(), 2048);
    }
}
