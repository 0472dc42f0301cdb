//! Why there is no layer, and what to do about it.

use std::io;

use camino::Utf8PathBuf;

use crate::layer::record::LayerKind;
use crate::process::ToolError;
use crate::program::ProgramError;

/// Why a layer could not be found, made or removed.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The directory that holds the layers cannot be used.
    #[error("cannot keep layers in `{dir}`")]
    Store {
        /// The directory.
        dir: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The toolchain's files cannot be listed.
    #[error("cannot list the toolchain in `{sysroot}`")]
    Sysroot {
        /// The toolchain's root.
        sysroot: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program that a guest is to run is none, or cannot be read or adapted.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// `rustc` does not say where its sysroot is.
    #[error("cannot ask rustc for its sysroot")]
    Rustc(#[source] ToolError),
    /// `rustc` names a sysroot that is not a path we can use.
    #[error("rustc names no usable sysroot: `{answer}`")]
    RustcAnswer {
        /// What it printed.
        answer: String,
    },
    /// The toolchain was updated while it was being packed.
    #[error("the toolchain in `{sysroot}` changed while it was being packed")]
    Changed {
        /// The toolchain's root.
        sysroot: Utf8PathBuf,
    },
    /// `mkfs.erofs` did not make the image.
    #[error("cannot pack the {kind} layer")]
    Pack {
        /// Which kind of layer.
        kind: LayerKind,
        /// Why.
        #[source]
        source: ToolError,
    },
    /// The lock file cannot be read.
    #[error("cannot read the lock file")]
    ReadLockfile(#[source] io::Error),
    /// The lock file is not one.
    #[error("cannot understand `{path}`")]
    ParseLockfile {
        /// The lock file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: toml::de::Error,
    },
    /// The workspace's own cargo configuration cannot be read.
    #[error("cannot read the workspace's cargo configuration")]
    ReadConfig(#[source] io::Error),
    /// The workspace's own cargo configuration is broken.
    #[error("cannot understand `{path}`")]
    ParseConfig {
        /// The configuration file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: toml::de::Error,
    },
    /// `cargo vendor` cannot be started.
    #[error("cannot run cargo")]
    Cargo(#[source] ToolError),
    /// `cargo vendor` gave up.
    #[error("cannot vendor the dependencies: {text}")]
    Vendor {
        /// The last lines that cargo wrote to standard error.
        text: String,
    },
    /// `cargo vendor` printed a configuration that is not one.
    #[error("cargo vendor printed a configuration that banger does not understand")]
    VendorConfig(#[source] Option<toml::de::Error>),
    /// A layer that was just made is not there, or not whole.
    #[error("the {kind} layer `{key}` vanished right after it was made")]
    Vanished {
        /// Which kind of layer.
        kind: LayerKind,
        /// Its key.
        key: String,
    },
    /// No layer has that key.
    #[error("there is no layer `{key}`")]
    Unknown {
        /// What was asked for.
        key: String,
    },
    /// Several layers have keys that start so.
    #[error("`{key}` could be any of several layers: {}", .candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        key: String,
        /// The layers it could be.
        candidates: Vec<String>,
    },
    /// A VM uses the layer, or somebody is building it.
    #[error("the layer `{name}` is in use")]
    InUse {
        /// The layer's name.
        name: String,
    },
}

impl LayerError {
    /// The remedy, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Program(error) => return error.hint(),
            Self::Store { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "free some space there, or set BANGER_HOME to a directory elsewhere"
            }
            Self::Store { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "set BANGER_HOME to a directory you own"
            }
            Self::Rustc(_) | Self::RustcAnswer { .. } => {
                "install Rust through rustup, or put its `rustc` on PATH"
            }
            Self::Changed { .. } => "run the command again when the update is done",
            Self::Pack { source, .. } if source.missing_program().is_some() => {
                "install mkfs.erofs: `apt install erofs-utils`"
            }
            Self::Pack { source, .. } if source.to_string().contains("No space left") => {
                "free some space in the cache directory: `cargo banger gc` removes unused layers"
            }
            Self::ReadLockfile(_) => "make it with `cargo generate-lockfile`",
            Self::Vendor { text } => vendor_hint(text),
            Self::Ambiguous { .. } => "give more of the key",
            Self::InUse { .. } => "stop the VMs that use it first",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// What to do about cargo's words.
fn vendor_hint(text: &str) -> &'static str {
    const NETWORK: [&str; 6] = [
        "resolve host",
        "failed to download",
        "failed to fetch",
        "download of",
        "network",
        "offline",
    ];
    if text.contains("--locked was passed") {
        "bring Cargo.lock up to date with `cargo update --workspace`"
    } else if NETWORK.iter().any(|word| text.contains(word)) {
        "the first use of a Cargo.lock needs its crates: go online once, or run `cargo fetch` where \
         there is a network; afterwards none is needed"
    } else {
        "`cargo vendor --versioned-dirs --locked` in the workspace shows the whole error"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_errors_get_the_hint_that_fits() {
        let hint = |text: &str| LayerError::Vendor { text: text.to_owned() }.hint().unwrap();
        let stale = "error: cannot update the lock file /w/Cargo.lock because --locked was passed";
        assert!(hint(stale).contains("cargo update --workspace"));
        assert!(hint("[6] Could not resolve host: index.crates.io").contains("cargo fetch"));
        assert!(hint("error: something else").contains("cargo vendor"));
    }

    #[test]
    fn a_missing_packer_names_the_package() {
        let source = ToolError::Start {
            program: "mkfs.erofs".to_owned(),
            source: io::ErrorKind::NotFound.into(),
        };
        let error = LayerError::Pack { kind: LayerKind::Toolchain, source };
        assert!(error.hint().unwrap().contains("erofs-utils"));
        assert_eq!(error.to_string(), "cannot pack the toolchain layer");
    }
}
