//! The cargo configuration that makes a guest's cargo take its crates from the dependency layer.
//!
//! Works on values only, but for reading the workspace's own configuration; knows nothing of how
//! the crates were vendored.

use std::io;

use camino::Utf8Path;
use toml::{Table, Value};

use crate::input_file::{self, MANIFEST_LIMIT};
use crate::layer::error::LayerError;

/// What the source of vendored crates is called in the guest.
const VENDORED: &str = "banger-vendored";

/// The `[source]` table that a workspace brings along in its `.cargo/config.toml`.
///
/// The guest's cargo sees it too, and it wins over the one in `CARGO_HOME`: what it defines has
/// to be led on to the layer, and must not be defined a second time.
pub(super) struct WorkspaceSources(Table);

impl WorkspaceSources {
    /// Reads the configuration in the workspace's root. None is no error.
    pub(super) fn read(root: &Utf8Path) -> Result<Self, LayerError> {
        for name in [".cargo/config", ".cargo/config.toml"] {
            let path = root.join(name);
            let text = match input_file::read_text(&path, MANIFEST_LIMIT) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(LayerError::ReadConfig)?,
            };
            let parsed: Result<Table, _> = toml::from_str(&text);
            let mut config = parsed.map_err(|source| LayerError::ParseConfig { path, source })?;
            return Ok(match config.remove("source") {
                Some(Value::Table(sources)) => Self(sources),
                _ => Self(Table::new()),
            });
        }
        Ok(Self(Table::new()))
    }

    /// Whether the workspace holds its crates itself, in a directory that is there.
    pub(super) fn is_vendored(&self, root: &Utf8Path) -> bool {
        let mut name = "crates-io";
        // As many steps as there are sources: a circle is cargo's to complain about.
        for _ in 0..=self.0.len() {
            let Some(source) = self.0.get(name).and_then(Value::as_table) else {
                return false;
            };
            let path = ["directory", "local-registry"].iter().find_map(|key| source.get(*key));
            if let Some(path) = path.and_then(Value::as_str) {
                return root.join(path).is_dir();
            }
            let Some(next) = source.get("replace-with").and_then(Value::as_str) else {
                return false;
            };
            name = next;
        }
        false
    }

    /// The text that a layer's key has to cover, as the configuration depends on it.
    pub(super) fn fingerprint(&self) -> String {
        self.0.to_string()
    }

    /// Whether the workspace defines the same source under whatever name.
    fn defines(&self, source: &Value) -> bool {
        let identity = |source: &Value| {
            let mut source = source.as_table().cloned().unwrap_or_default();
            source.remove("replace-with");
            source
        };
        let wanted = identity(source);
        !wanted.is_empty() && self.0.values().any(|source| identity(source) == wanted)
    }

    /// The sources that replace others and are replaced by none: registries' mirrors.
    fn ends(&self) -> impl Iterator<Item = &String> {
        let is_end = |source: &Value| source.get("replace-with").is_none();
        self.0
            .iter()
            .filter(move |(name, source)| *name != "crates-io" && is_end(source))
            .map(|(name, _)| name)
    }
}

/// Turns what `cargo vendor` printed into the configuration for a guest that has `vendored`, a
/// directory on the host, at `mount_point`.
///
/// # Errors
/// Where the text is not TOML, or replaces no source.
pub(super) fn for_guest(
    printed: &str,
    vendored: &Utf8Path,
    mount_point: &Utf8Path,
    workspace: &WorkspaceSources,
) -> Result<String, LayerError> {
    let mut config: Table =
        toml::from_str(printed).map_err(|error| LayerError::VendorConfig(Some(error)))?;
    let Some(Value::Table(sources)) = config.remove("source") else {
        return Err(LayerError::VendorConfig(None));
    };
    let mut ours = Table::new();
    for (name, mut source) in sources {
        let directory = source.get("directory").and_then(Value::as_str).map(Utf8Path::new);
        if let Some(directory) = directory {
            let inside = directory.strip_prefix(vendored).unwrap_or(Utf8Path::new(""));
            let directory =
                if inside == "" { mount_point.to_owned() } else { mount_point.join(inside) };
            let source = Table::from_iter([("directory".to_owned(), directory.as_str().into())]);
            ours.insert(renamed(&name), source.into());
        } else if !workspace.defines(&source) {
            if let Some(Value::String(next)) = source.get_mut("replace-with") {
                *next = renamed(next);
            }
            ours.insert(name, source);
        }
    }
    for name in workspace.ends() {
        let replaced = Table::from_iter([("replace-with".to_owned(), VENDORED.into())]);
        ours.insert(name.clone(), replaced.into());
    }
    config.insert("source".to_owned(), ours.into());
    Ok(format!("# Written by banger: crates come from the dependency layer.\n{config}"))
}

/// A name that no workspace has, for cargo's own name of the vendored crates.
fn renamed(name: &str) -> String {
    name.replace("vendored-sources", VENDORED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = r#"
[source.crates-io]
replace-with = "vendored-sources"

[source."git+file:///r/gitdep?branch=b"]
git = "file:///r/gitdep"
branch = "b"
replace-with = "vendored-sources"

[source.vendored-sources]
directory = "/cache/tmp/vendor"
"#;

    fn guest(workspace: &str) -> Table {
        let sources = WorkspaceSources(toml::from_str(workspace).unwrap());
        let text =
            for_guest(PRINTED, "/cache/tmp/vendor".into(), "/opt/banger/vendor".into(), &sources);
        let config: Table = toml::from_str(&text.unwrap()).unwrap();
        config["source"].as_table().unwrap().clone()
    }

    #[test]
    fn every_source_leads_to_the_guests_directory() {
        let source = guest("");
        assert_eq!(source.len(), 3);
        assert_eq!(source["crates-io"]["replace-with"].as_str(), Some(VENDORED));
        let git = &source["git+file:///r/gitdep?branch=b"];
        assert_eq!(git["branch"].as_str(), Some("b"));
        assert_eq!(git["replace-with"].as_str(), Some(VENDORED));
        assert_eq!(source[VENDORED]["directory"].as_str(), Some("/opt/banger/vendor"));
    }

    #[test]
    fn a_workspaces_mirror_is_led_on_and_nothing_is_defined_twice() {
        let source = guest(
            "[crates-io]\nreplace-with = 'mirror'\n[mirror]\nregistry = 'https://m'\n\
             [mine]\ngit = 'file:///r/gitdep'\nbranch = 'b'\n",
        );
        assert_eq!(source["mirror"]["replace-with"].as_str(), Some(VENDORED));
        assert_eq!(source["mine"]["replace-with"].as_str(), Some(VENDORED));
        assert!(!source.contains_key("git+file:///r/gitdep?branch=b"));
    }

    #[test]
    fn what_is_no_configuration_is_an_error() {
        let none = WorkspaceSources(Table::new());
        for printed in ["", "[source", "a = 1"] {
            let result = for_guest(printed, "/v".into(), "/m".into(), &none);
            assert!(matches!(result, Err(LayerError::VendorConfig(_))), "{printed}");
        }
    }

    #[test]
    fn a_checked_in_vendor_directory_is_noticed() {
        let temp = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(temp.path()).unwrap();
        let read = || WorkspaceSources::read(root).unwrap().is_vendored(root);
        assert!(!read());
        fs_err::create_dir(root.join(".cargo")).unwrap();
        let config = root.join(".cargo/config.toml");
        fs_err::write(
            &config,
            "[source.crates-io]\nreplace-with = 'a'\n[source.a]\ndirectory = 'third/party'\n",
        )
        .unwrap();
        assert!(!read(), "the directory is not there");
        fs_err::create_dir_all(root.join("third/party")).unwrap();
        assert!(read());
        let circle = "[source.crates-io]\nreplace-with = 'crates-io'\n";
        fs_err::write(&config, circle).unwrap();
        assert!(!read());
        fs_err::write(&config, "[source").unwrap();
        assert!(matches!(WorkspaceSources::read(root), Err(LayerError::ParseConfig { .. })));
    }
}
