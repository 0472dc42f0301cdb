//! What a VM should be: plain, validated settings.
//!
//! Each type accepts only values that can work, and its error quotes the value and the accepted
//! form, so that bad input is refused before anything boots.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A value that a setting does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {what}: expected {expected}")]
pub struct InvalidValue {
    /// The value as given.
    pub value: String,
    /// What it was meant to be.
    pub what: &'static str,
    /// The accepted form.
    pub expected: &'static str,
}

/// A VM's name: `[a-z0-9][a-z0-9-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VmName(String);

impl VmName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VmName {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = text.bytes();
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let valid = bytes.next().is_some_and(alphanumeric)
            && bytes.all(|b| alphanumeric(b) || b == b'-')
            && text.len() <= 64;
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidValue {
                value: text.to_owned(),
                what: "VM name",
                expected: "1 to 64 of a-z, 0-9 and -, not starting with -",
            })
        }
    }
}

impl TryFrom<String> for VmName {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<VmName> for String {
    fn from(name: VmName) -> Self {
        name.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Declares a whole number with a range.
macro_rules! ranged {
    ($(#[$doc:meta])* $name:ident($repr:ty), $what:literal, $expected:literal, $range:expr, default $default:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name($repr);

        impl $name {
            /// The number.
            #[must_use]
            pub const fn get(self) -> $repr {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = InvalidValue;

            fn try_from(number: u64) -> Result<Self, Self::Error> {
                match <$repr>::try_from(number) {
                    Ok(small) if $range.contains(&small) => Ok(Self(small)),
                    _ => Err(InvalidValue { value: number.to_string(), what: $what, expected: $expected }),
                }
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> Self {
                value.0.into()
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let number: u64 = text.parse().map_err(|_| InvalidValue {
                    value: text.to_owned(),
                    what: $what,
                    expected: $expected,
                })?;
                Self::try_from(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

ranged!(
    /// How many virtual CPUs: 1 to 16, 2 unless said otherwise.
    Vcpu(u8), "number of vCPUs", "a whole number from 1 to 16", (1..=16), default 2
);
ranged!(
    /// Memory in MiB: 128 to 32768, 1024 unless said otherwise.
    Ram(u32), "amount of memory", "a whole number of MiB from 128 to 32768", (128..=32_768), default 1024
);

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

/// Declares an enum of words, with its parser.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every accepted word.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word as written on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(InvalidValue { value: text.to_owned(), what: $what, expected: $expected }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words!(
    /// The program that runs the VM.
    VmmKind, "VMM", "qemu or firecracker", {
        /// QEMU's `microvm` machine, with KVM or TCG.
        Qemu = "qemu",
        /// Firecracker, with KVM.
        Firecracker = "firecracker",
    }
);
words!(
    /// What executes the guest's instructions.
    Accel, "accelerator", "auto, kvm or tcg", {
        /// KVM where it runs ordinary guests, else TCG.
        Auto = "auto",
        /// KVM, whatever the checks say; the boot watchdog still applies.
        Kvm = "kvm",
        /// QEMU's emulator: runs everywhere, several times slower.
        Tcg = "tcg",
    }
);
words!(
    /// What runs as process 1 of the guest.
    Init, "init", "quick or systemd", {
        /// A few lines of shell: ready soonest, reaps orphans, runs no services.
        Quick = "quick",
        /// systemd, waited for until the boot is complete.
        Systemd = "systemd",
    }
);
words!(
    /// What the guest can reach.
    Net, "network", "none, auto, user or tap", {
        /// Nothing but the control channel.
        None = "none",
        /// Outbound connections by the means that the VMM has.
        Auto = "auto",
        /// Outbound connections through QEMU's user networking.
        User = "user",
        /// A tap in a network namespace of the VM's own, with NAT that can be switched.
        Tap = "tap",
    }
);

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

impl TryFrom<String> for NetPool {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<NetPool> for String {
    fn from(pool: NetPool) -> Self {
        pool.to_string()
    }
}

impl fmt::Display for NetPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

/// Everything about a VM that is not a file: its shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmSpec {
    /// How many virtual CPUs.
    pub vcpu: Vcpu,
    /// Memory in MiB.
    pub ram: Ram,
    /// How much the guest may write to its root disk.
    pub overlay_size: OverlaySize,
    /// The VMM; the best one this host can run where `None`.
    pub vmm: Option<VmmKind>,
    /// The accelerator.
    pub accel: Accel,
    /// Process 1 of the guest.
    pub init: Init,
    /// What the guest can reach.
    pub net: Net,
    /// Where its addresses come from, if it has a tap.
    #[serde(default)]
    pub net_pool: NetPool,
    /// How long the guest may take to become ready, in ms.
    pub boot_timeout_ms: u64,
}

impl Default for VmSpec {
    fn default() -> Self {
        Self {
            vcpu: Vcpu::default(),
            ram: Ram::default(),
            overlay_size: OverlaySize::default(),
            vmm: None,
            accel: Accel::Auto,
            init: Init::Quick,
            net: Net::None,
            net_pool: NetPool::default(),
            boot_timeout_ms: 90_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_documented_pattern() {
        for good in ["a", "0", "brave-otter", &"x".repeat(64)] {
            assert_eq!(good.parse::<VmName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "A", "a_b", "a b", "ä", "../x", &"x".repeat(65)] {
            let error = bad.parse::<VmName>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{bad}`")), "{error}");
        }
    }

    #[test]
    fn numbers_outside_their_range_are_refused_by_name() {
        assert_eq!("16".parse::<Vcpu>().unwrap().get(), 16);
        assert!("0".parse::<Vcpu>().is_err());
        assert!("17".parse::<Vcpu>().unwrap_err().to_string().contains("from 1 to 16"));
        assert!("two".parse::<Vcpu>().unwrap_err().to_string().contains("`two`"));
        assert_eq!("128".parse::<Ram>().unwrap().get(), 128);
        assert!("127".parse::<Ram>().is_err());
        assert!("32769".parse::<Ram>().is_err());
    }

    #[test]
    fn sizes_are_mib_or_have_a_suffix() {
        assert_eq!("512".parse::<OverlaySize>().unwrap().mib(), 512);
        assert_eq!("8G".parse::<OverlaySize>().unwrap().bytes(), 8 << 30);
        assert_eq!("1T".parse::<OverlaySize>().unwrap().to_string(), "1024G");
        for bad in ["", "G", "63", "2T", "8GB", "-1", "99999999999999999999G"] {
            assert!(bad.parse::<OverlaySize>().is_err(), "{bad}");
        }
    }

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

    #[test]
    fn settings_refuse_values_out_of_range_when_read_from_a_file() {
        let error = serde_json::from_str::<Vcpu>("99").unwrap_err().to_string();
        assert!(error.contains("from 1 to 16"), "{error}");
        let size: OverlaySize = serde_json::from_str("\"2G\"").unwrap();
        assert_eq!(size.mib(), 2048);
    }
}
