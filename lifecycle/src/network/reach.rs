//! How far a guest with a network gets: what is kept from it, as values that the [gate](super::gate)
//! and [`nat`](super::nat) apply.

use std::net::Ipv4Addr;
use std::str::FromStr;

use super::pool::range;
use crate::spec::Net;

/// Addresses that mean a host itself, several hosts or none.
const NEVER: [&str; 4] = ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4"];

/// What is not reachable from everywhere, by IANA's registry of special-purpose addresses (RFC 6890):
/// private networks, those of carriers and links with clouds' metadata, and what is for tests and
/// documents.
const NOT_PUBLIC: [&str; 10] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
];

/// How far a guest gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To whatever the host reaches, but not to the host.
    Outside,
    /// To public addresses only.
    Internet,
}

impl Reach {
    /// How far a guest of a setting gets.
    pub(crate) const fn of(net: Net) -> Self {
        match net {
            Net::Internet => Self::Internet,
            _ => Self::Outside,
        }
    }

    /// The word for it, for a process that applies it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Internet => "internet",
        }
    }

    /// What is out of it, in the notation of networks.
    pub(super) fn excluded(self) -> impl Iterator<Item = &'static str> {
        let private: &[_] = match self {
            Self::Outside => &[],
            Self::Internet => &NOT_PUBLIC,
        };
        NEVER.iter().chain(private).copied()
    }

    /// Whether an address is out of it, whatever the host's own are.
    pub(super) fn excludes(self, address: Ipv4Addr) -> bool {
        let number = u32::from(address);
        self.excluded().filter_map(range).any(|(first, last)| (first..=last).contains(&number))
    }
}

impl FromStr for Reach {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known =
            [Self::Outside, Self::Internet].into_iter().find(|reach| reach.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is neither outside nor internet"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outside_is_all_but_hosts_themselves_and_the_internet_all_but_private_networks() {
        let excluded = |address: &str| {
            let address = address.parse().unwrap();
            [Reach::Outside, Reach::Internet].map(|reach| reach.excludes(address))
        };
        for never in ["0.0.0.0", "127.0.0.1", "127.255.0.9", "224.0.0.251", "255.255.255.255"] {
            assert_eq!(excluded(never), [true, true], "{never}");
        }
        for private in [
            "10.0.0.1",
            "100.64.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "198.51.100.1",
        ] {
            assert_eq!(excluded(private), [false, true], "{private}");
        }
        for public in ["1.1.1.1", "11.0.0.0", "100.128.0.0", "172.32.0.0", "223.255.255.255"] {
            assert_eq!(excluded(public), [false, false], "{public}");
        }
    }

    #[test]
    fn a_process_is_told_by_the_word() {
        for reach in [Reach::Outside, Reach::Internet] {
            assert_eq!(reach.as_str().parse(), Ok(reach));
        }
        assert!("lan".parse::<Reach>().unwrap_err().contains("`lan`"));
    }
}
