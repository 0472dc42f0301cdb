//! Why a workspace cannot be understood.

use std::io;

use camino::Utf8PathBuf;

use crate::process::ToolError;

/// Why a workspace cannot be located or loaded.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// Cargo cannot be started.
    #[error("cannot run cargo")]
    Start(#[source] ToolError),
    /// Cargo does not accept the workspace, or cannot resolve its dependencies.
    #[error("cargo does not accept the workspace of `{manifest}`: {text}")]
    Refused {
        /// The manifest that cargo was asked about.
        manifest: Utf8PathBuf,
        /// The last lines that cargo wrote to standard error.
        text: String,
    },
    /// Cargo's answer is not what it should be.
    #[error("cannot understand what `cargo metadata` says of `{manifest}`")]
    Metadata {
        /// The manifest that cargo was asked about.
        manifest: Utf8PathBuf,
        /// Why.
        #[source]
        source: cargo_metadata::Error,
    },
    /// A manifest or a cargo configuration cannot be read.
    #[error("cannot read the workspace")]
    Read(#[source] io::Error),
    /// A manifest or a cargo configuration is not TOML.
    #[error("cannot understand `{path}`")]
    Parse {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: toml::de::Error,
    },
}

impl WorkspaceError {
    /// The remedy, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Start(source) if source.missing_program().is_some() => {
                Some("install Rust through rustup, or put `cargo` on PATH".to_owned())
            }
            Self::Metadata { .. } => Some("update cargo: it may be too old".to_owned()),
            _ => None,
        }
    }
}
