//! The accepted values of each option. They are those that `cargo banger` accepts, checked here so
//! that a wrong one is an error of the compiler at its place.

use proc_macro2::Span;
use syn::{Error, Lit, Result};

use crate::parse::{Given, Value};

impl Given {
    /// An error at the option's value that quotes the accepted form.
    fn wrong(&self, span: Span, given: Option<&str>, expected: &str) -> Error {
        let name = &self.name;
        let message = match given {
            Some(given) => format!("`{given}` is not valid for `{name}`: expected {expected}"),
            None => format!("wrong value for `{name}`: expected {expected}"),
        };
        Error::new(span, message)
    }

    fn one(&self, expected: &str) -> Result<&Lit> {
        match &self.value {
            Value::One(literal) => Ok(literal),
            Value::Many(literals) => {
                let span = literals.first().map_or(self.span, Lit::span);
                Err(self.wrong(span, None, expected))
            }
            Value::Absent => Err(self.wrong(self.span, None, expected)),
        }
    }

    /// A whole number within a range, as text.
    pub(crate) fn number(
        &self,
        range: std::ops::RangeInclusive<u64>,
        expected: &str,
    ) -> Result<String> {
        let literal = self.one(expected)?;
        let Lit::Int(number) = literal else {
            return Err(self.wrong(literal.span(), None, expected));
        };
        match number.base10_parse::<u64>() {
            Ok(value) if range.contains(&value) => Ok(value.to_string()),
            _ => Err(self.wrong(literal.span(), Some(&number.to_string()), expected)),
        }
    }

    /// A text that is accepted.
    pub(crate) fn text(&self, accepts: impl Fn(&str) -> bool, expected: &str) -> Result<String> {
        self.check(self.one(expected)?, &accepts, expected)
    }

    /// A list of texts that are accepted, not empty.
    pub(crate) fn texts(
        &self,
        accepts: impl Fn(&str) -> bool,
        expected: &str,
    ) -> Result<Vec<(String, Span)>> {
        let Value::Many(literals) = &self.value else {
            let span =
                if let Value::One(literal) = &self.value { literal.span() } else { self.span };
            return Err(self.wrong(span, None, expected));
        };
        if literals.is_empty() {
            return Err(self.wrong(self.span, None, expected));
        }
        let check = |literal| Ok((self.check(literal, &accepts, expected)?, literal.span()));
        literals.iter().map(check).collect()
    }

    /// One of some words, of which the first stands for false and the second for true; the name alone
    /// is true.
    pub(crate) fn switch(&self, words: &[&str], expected: &str) -> Result<String> {
        let (no, yes) = (words[0], words[1]);
        let word = match &self.value {
            Value::Absent => yes,
            Value::One(Lit::Bool(truth)) => {
                if truth.value {
                    yes
                } else {
                    no
                }
            }
            _ => return self.text(|text| words.contains(&text), expected),
        };
        Ok(word.to_owned())
    }

    fn check(
        &self,
        literal: &Lit,
        accepts: &dyn Fn(&str) -> bool,
        expected: &str,
    ) -> Result<String> {
        match literal {
            Lit::Str(text) if accepts(&text.value()) => Ok(text.value()),
            Lit::Str(text) => Err(self.wrong(literal.span(), Some(&text.value()), expected)),
            _ => Err(self.wrong(literal.span(), None, expected)),
        }
    }
}

/// A number of MiB or a size such as `8G`, from 64 MiB to 1 TiB.
pub(crate) fn is_size(text: &str) -> bool {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'T' | b't') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 0),
        _ => (text, 0),
    };
    let mib = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    mib.is_some_and(|mib| (64..=1 << 20).contains(&mib))
}

/// A time in ms, of a text such as `30s`.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let (digits, factor) =
        UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    let number: u64 = digits.trim_end().parse().ok()?;
    number.checked_mul(*factor).filter(|ms| *ms > 0)
}

/// Bytes at the start and after it that a name may have, and how many at most.
pub(crate) fn is_name(
    text: &str,
    first: fn(u8) -> bool,
    rest: fn(u8) -> bool,
    most: usize,
) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(first) && bytes.all(rest) && text.len() <= most
}

/// The name of a Debian suite.
pub(crate) fn is_suite(text: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    is_name(text, |byte| byte.is_ascii_lowercase(), rest, 64)
}

/// The name of a group of tests: a VM is named after it.
pub(crate) fn is_group(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    is_name(text, alphanumeric, rest, 64)
}

/// The name of a user, as useradd(8) accepts it.
pub(crate) fn is_user(text: &str) -> bool {
    let rest = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
    };
    is_name(text, |byte| byte.is_ascii_lowercase() || byte == b'_', rest, 32)
}

/// `K=V`, with a name that a shell can export.
pub(crate) fn is_variable(text: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.split_once('=').is_some_and(|(name, _)| is_name(name, first, rest, usize::MAX))
}

/// `HOST` or `HOST:GUEST`, the latter absolute.
pub(crate) fn is_file(text: &str) -> bool {
    match text.split_once(':') {
        Some((host, guest)) => !host.is_empty() && guest.starts_with('/') && guest.len() > 1,
        None => !text.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_files_and_variables() {
        assert_eq!(milliseconds("500ms"), Some(500));
        assert_eq!(milliseconds("2m"), Some(120_000));
        for bad in ["", "5", "0s", "s", "-1s", "1.5s", "99999999999999999999h"] {
            assert_eq!(milliseconds(bad), None, "{bad}");
        }
        assert!(is_file("a") && is_file("a:/b") && !is_file("a:b") && !is_file(":/b"));
        assert!(
            is_variable("A=") && is_variable("_a1=b=c") && !is_variable("1=2") && !is_variable("A")
        );
        assert!(is_user("nobody") && is_user("_apt") && !is_user("Nobody") && !is_user(""));
    }

    /// What is accepted here is what the settings' types accept.
    #[test]
    fn sizes_and_groups_agree_with_the_settings() {
        use banger_protocol::spec::{OverlaySize, VmName};
        for text in ["64", "63", "8G", "8g", "1T", "2T", "", "G", "8GB", "1048576", "1048577"] {
            assert_eq!(is_size(text), text.parse::<OverlaySize>().is_ok(), "{text}");
        }
        for text in ["a", "0-", "-a", "A", "a_b", "", &"x".repeat(64), &"x".repeat(65)] {
            assert_eq!(is_group(text), text.parse::<VmName>().is_ok(), "{text}");
        }
    }
}
