//! How much a device may move.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// How much a device may move, in MiB a second: 1 to 65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate(u32);

impl Rate {
    /// In bytes a second.
    #[must_use]
    pub fn bytes(self) -> u64 {
        u64::from(self.0) << 20
    }
}

impl FromStr for Rate {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(mib @ 1..=65_536) => Ok(Self(mib)),
            _ => Err(InvalidValue {
                value: text.to_owned(),
                what: "rate",
                expected: "none, or a whole number of MiB a second from 1 to 65536",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_mib_a_second() {
        assert_eq!("2".parse::<Rate>().unwrap().bytes(), 2 << 20);
        for bad in ["0", "65537", "2M", ""] {
            assert!(bad.parse::<Rate>().unwrap_err().to_string().contains("MiB a second"), "{bad}");
        }
    }
}
