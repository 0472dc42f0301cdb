//! `[workspace.metadata.banger]` and `[package.metadata.banger]`, read from the manifests.
//!
//! Read straight from the files: asking cargo would cost each run some 100 ms before its VM can
//! start.

use std::collections::BTreeMap;
use std::io::ErrorKind::{InvalidData, NotFound};

use banger_lifecycle::input_file::{self, MANIFEST_LIMIT};
use camino::{Utf8Path, Utf8PathBuf};
use toml::{Table, Value};

use super::{keys, list};
use crate::error::CommandError;

/// The settings of one manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The manifest.
    pub(crate) manifest: Utf8PathBuf,
    /// Values as text, by key.
    pub(crate) values: BTreeMap<String, String>,
}

impl Metadata {
    /// Reads one table of a manifest: `scope` is `workspace` or `package`.
    ///
    /// A manifest that is not there or does not parse has no settings: cargo will say why. One that
    /// is no regular file, or too long, is an error.
    pub(crate) fn read(manifest: &Utf8Path, scope: &str) -> Result<Option<Self>, CommandError> {
        let text = match input_file::read_text(manifest, MANIFEST_LIMIT) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), NotFound | InvalidData) => return Ok(None),
            Err(error) => {
                return Err(CommandError::usage("cannot read a manifest").caused_by(&error));
            }
        };
        let Ok(document) = text.parse::<Table>() else { return Ok(None) };
        let table = document.get(scope).and_then(|v| v.get("metadata")?.get("banger"));
        let Some(table) = table else { return Ok(None) };
        let at = format!("[{scope}.metadata.banger] of {manifest}");
        let Value::Table(table) = table else {
            return Err(CommandError::usage(format!("{at} is not a table")));
        };
        let values: Result<_, _> =
            table.iter().map(|(key, value)| check(key, value, &at)).collect();
        Ok(Some(Self { manifest: manifest.to_owned(), values: values? }))
    }
}

/// One key and its value as text.
fn check(key: &str, value: &Value, at: &str) -> Result<(String, String), CommandError> {
    keys::known(key, at)?;
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(flag) => flag.to_string(),
        Value::Array(items) if items.iter().all(Value::is_str) => {
            list::join(items.iter().filter_map(Value::as_str))
        }
        other => {
            let message = format!("`{key}` in {at} cannot be {}", other.type_str());
            return Err(CommandError::usage(message));
        }
    };
    Ok((key.to_owned(), text))
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    fn read(text: &str) -> Result<Option<Metadata>, CommandError> {
        let dir = tempfile::tempdir().unwrap();
        let manifest = Utf8Path::from_path(dir.path()).unwrap().join("Cargo.toml");
        fs::write(&manifest, text).unwrap();
        Metadata::read(&manifest, "workspace")
    }

    #[test]
    fn values_become_text() {
        let text = "[workspace.metadata.banger]\nvcpu = 4\nsync = false\nenv = ['A', 'B=1']";
        let values = read(text).unwrap().unwrap().values;
        assert_eq!(values["vcpu"], "4");
        assert_eq!(values["sync"], "false");
        assert_eq!(values["env"], "A,B=1");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_the_nearest() {
        let error = read("[workspace.metadata.banger]\nvcpus = 4").unwrap_err();
        assert!(error.message.contains("`vcpus`"), "{error}");
        assert_eq!(error.hint.as_deref(), Some("did you mean `vcpu`?"));
    }

    #[test]
    fn no_table_is_no_settings() {
        assert_eq!(read("[workspace]").unwrap(), None);
        assert_eq!(read("not toml [").unwrap(), None);
    }

    #[test]
    fn a_manifest_that_would_wait_or_never_end_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = Utf8Path::from_path(dir.path()).unwrap().join("Cargo.toml");
        std::os::unix::fs::symlink("/dev/zero", &manifest).unwrap();
        let error = Metadata::read(&manifest, "workspace").unwrap_err();
        assert!(error.causes[0].contains(manifest.as_str()), "{error:?}");
        assert!(error.causes[0].contains("a device"), "{error:?}");
    }
}
