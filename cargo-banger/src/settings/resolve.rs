//! The value of each setting and where it came from.

use std::collections::BTreeMap;
use std::fmt;

use camino::{Utf8Path, Utf8PathBuf};

use super::Metadata;
use super::keys::{KEYS, Key};
use crate::error::CommandError;

/// Values given as flags, by key.
pub(crate) type Flags = BTreeMap<&'static str, String>;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    Manifest(Utf8PathBuf),
    Variable(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Manifest(path) => write!(f, "{path}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// One setting's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) key: &'static Key,
    pub(crate) text: String,
    pub(crate) origin: Origin,
    /// What a relative path is relative to.
    base: Utf8PathBuf,
}

impl Resolved {
    /// Whether nobody said anything.
    pub(crate) fn is_default(&self) -> bool {
        self.origin == Origin::Default
    }

    /// Parses the value; the error says where it came from.
    pub(crate) fn parse<T>(&self) -> Result<T, CommandError>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        self.text.parse().map_err(|error| self.wrong(error))
    }

    /// The value as a path, unless it is the default.
    pub(crate) fn path(&self) -> Option<Utf8PathBuf> {
        (!self.is_default()).then(|| self.base.join(&self.text))
    }

    /// An error about this value.
    pub(crate) fn wrong(&self, reason: impl fmt::Display) -> CommandError {
        let from = match &self.origin {
            Origin::Default => String::new(),
            origin => format!(" (from {origin})"),
        };
        CommandError::usage(format!("{}: {reason}{from}", self.key.name))
    }
}

/// Finds every setting's value: flags win over variables, those over the package's metadata, that
/// over the workspace's.
pub(crate) fn resolve(
    flags: &Flags,
    variable: impl Fn(&str) -> Option<String>,
    metadata: &[Metadata],
    directory: &Utf8Path,
) -> Vec<Resolved> {
    let find = |key: &'static Key| {
        let here = directory.to_owned();
        if let Some(text) = flags.get(key.name) {
            return (text.clone(), Origin::Flag(key.name), here);
        }
        if let Some(text) = variable(key.variable) {
            return (text, Origin::Variable(key.variable), here);
        }
        let of_manifest = metadata.iter().rev().find_map(|from| {
            let base = from.manifest.parent().unwrap_or(directory).to_owned();
            Some((
                from.values.get(key.name)?.clone(),
                Origin::Manifest(from.manifest.clone()),
                base,
            ))
        });
        of_manifest.unwrap_or_else(|| (key.default.to_owned(), Origin::Default, here))
    };
    let resolved = KEYS.iter().map(|key| (key, find(key)));
    resolved.map(|(key, (text, origin, base))| Resolved { key, text, origin, base }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(dir: &str, key: &str, value: &str) -> Metadata {
        let manifest = Utf8PathBuf::from(dir).join("Cargo.toml");
        Metadata { manifest, values: [(key.to_owned(), value.to_owned())].into() }
    }

    fn value(flags: &[(&'static str, &str)], variable: Option<&str>, of: &[Metadata]) -> Resolved {
        let flags = flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let variable = |name: &str| variable.filter(|_| name == "BANGER_VCPU").map(str::to_owned);
        resolve(&flags, variable, of, Utf8Path::new("/here")).swap_remove(0)
    }

    #[test]
    fn the_nearer_source_wins() {
        let of = [metadata("/w", "vcpu", "3"), metadata("/w/p", "vcpu", "4")];
        assert_eq!(value(&[("vcpu", "6")], Some("5"), &of).text, "6");
        assert_eq!(value(&[], Some("5"), &of).text, "5");
        assert_eq!(value(&[], None, &of).origin.to_string(), "/w/p/Cargo.toml");
        assert_eq!(value(&[], None, &of[..1]).text, "3");
        assert_eq!(value(&[], None, &[]).origin, Origin::Default);
    }

    #[test]
    fn errors_say_where_the_value_came_from() {
        let error = value(&[], Some("99"), &[]).parse::<banger_lifecycle::spec::Vcpu>();
        let text = error.unwrap_err().message;
        assert!(text.contains("`99`") && text.ends_with("(from BANGER_VCPU)"), "{text}");
    }
}
