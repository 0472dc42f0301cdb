//! Whole numbers with a range.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidValue;

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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn settings_refuse_values_out_of_range_when_read_from_a_file() {
        let error = serde_json::from_str::<Vcpu>("99").unwrap_err().to_string();
        assert!(error.contains("from 1 to 16"), "{error}");
    }
}
