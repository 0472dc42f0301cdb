//! Why a host-built executable cannot be taken into a guest, and what to do about it.

use std::io;

use camino::Utf8PathBuf;

/// Why an executable cannot be read, followed to its libraries, or altered.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The file is something else, such as a script.
    #[error("`{path}` is not an ELF executable")]
    NotElf {
        /// The file.
        path: Utf8PathBuf,
    },
    /// The file is for another kind of machine.
    #[error("`{path}` is built for {found}, not for x86_64")]
    WrongArchitecture {
        /// The file.
        path: Utf8PathBuf,
        /// What it is built for, as people call it.
        found: String,
    },
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file contradicts itself: it is cut short or damaged.
    #[error("`{path}` is cut short or damaged: {what}")]
    Malformed {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The program loads no libraries, so there is nothing to find for it or to alter in it.
    #[error("`{path}` is statically linked")]
    Static {
        /// The program.
        path: Utf8PathBuf,
    },
    /// A library that the program needs is nowhere on this host.
    #[error("`{program}` needs the library `{library}`, which is not on this host")]
    MissingLibrary {
        /// The program.
        program: Utf8PathBuf,
        /// The library, as the program or one of its libraries names it.
        library: String,
    },
    /// The program's headers have no place for the change.
    #[error("`{path}` cannot be altered: {what}")]
    NoRoom {
        /// The program.
        path: Utf8PathBuf,
        /// What there is no place for.
        what: &'static str,
    },
    /// The directory in the guest cannot be written into a program.
    #[error("`{directory}` cannot be a guest's library directory")]
    LibraryDirectory {
        /// The directory.
        directory: String,
    },
    /// The altered copy cannot be written.
    #[error("cannot copy `{path}` to `{out}`")]
    Copy {
        /// The program or library.
        path: Utf8PathBuf,
        /// The copy.
        out: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ProgramError {
    /// The remedy, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotElf { .. } => "name the executable that cargo built, not a wrapper around it",
            Self::WrongArchitecture { .. } => "build it for an x86_64 Linux target",
            Self::Malformed { .. } => "build it again",
            Self::MissingLibrary { .. } => {
                "install the library, or put its directory into LD_LIBRARY_PATH"
            }
            Self::NoRoom { .. } => "build it for x86_64-unknown-linux-musl, or in the guest",
            Self::LibraryDirectory { .. } => "use an absolute path without `:` and `$`",
            Self::Unreadable { .. } | Self::Static { .. } | Self::Copy { .. } => return None,
        };
        Some(text.to_owned())
    }
}
