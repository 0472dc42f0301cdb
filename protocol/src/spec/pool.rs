//! Where addresses come from.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// The private IPv4 network that VMs with a tap lease addresses from, two each.
///
/// Written as `10.231.0.0/16`; from `/8` to `/31`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetPool {
    first: Ipv4Addr,
    length: u8,
}

impl NetPool {
    /// The first and the last address, as numbers.
    #[must_use]
    pub fn range(self) -> (u32, u32) {
        let first = u32::from(self.first);
        (first, first | (u32::MAX >> self.length))
    }
}

impl Default for NetPool {
    fn default() -> Self {
        Self { first: Ipv4Addr::new(10, 231, 0, 0), length: 16 }
    }
}

impl FromStr for NetPool {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('/');
        let pool = parts.and_then(|(first, length)| {
            let pool = Self { first: first.parse().ok()?, length: length.parse().ok()? };
            let aligned = (8..=31).contains(&pool.length)
                && u32::from(pool.first) & (u32::MAX >> pool.length) == 0;
            (aligned && pool.first.is_private()).then_some(pool)
        });
        pool.ok_or_else(|| InvalidValue {
            value: text.to_owned(),
            what: "pool of addresses",
            expected: "a private IPv4 network from /8 to /31, such as 10.231.0.0/16",
        })
    }
}

as_text!(NetPool);

impl fmt::Display for NetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_a_private_network() {
        let pool: NetPool = "10.231.0.0/16".parse().unwrap();
        assert_eq!(pool, NetPool::default());
        assert_eq!(pool.range(), (0x0ae7_0000, 0x0ae7_ffff));
        for bad in ["10.231.0.1/16", "8.8.8.0/24", "10.0.0.0/7", "10.0.0.0/32", "10.0.0.0", "x/8"] {
            let error = bad.parse::<NetPool>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
    }
}
