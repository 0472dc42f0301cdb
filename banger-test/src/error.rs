//! Why there is no VM, or why it did not do what was asked.

use std::ffi::OsStr;
use std::fmt;
use std::io;

use banger_protocol::PROTOCOL_VERSION;
use banger_protocol::reply::Failure;
use banger_protocol::text::shown;

/// What failed; prints over several lines, with causes, the end of the guest's console and a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There is no `cargo-banger` that this crate can work with.
    Unavailable {
        /// Why, with what mends it.
        message: String,
    },
    /// `cargo-banger` could not do what was asked.
    Failed(Failure),
}

const INSTALL: &str = "hint: `cargo install --locked cargo-banger` installs it; BANGER_BIN can name \
                       another one";

impl Error {
    pub(crate) fn missing(program: &OsStr, source: &io::Error) -> Self {
        let program = program.display();
        Self::Unavailable { message: format!("cannot start `{program}`: {source}\n{INSTALL}") }
    }

    pub(crate) fn version(program: &OsStr, protocol: u32, version: &str) -> Self {
        let (older, mend) = if protocol < PROTOCOL_VERSION {
            (
                "older than this test's banger-test",
                "update it: `cargo install --locked cargo-banger`",
            )
        } else {
            (
                "newer than this test's banger-test",
                "update banger-test: `cargo update -p banger-test`",
            )
        };
        let message = format!(
            "`{}` {version} is {older}: it speaks protocol {protocol}, not {PROTOCOL_VERSION}\nhint: {mend}",
            program.display()
        );
        Self::Unavailable { message }
    }

    pub(crate) fn no_supervisor(program: &OsStr, said: Option<&str>) -> Self {
        let said = said.map_or_else(String::new, |said| format!("\n  it said: {said}"));
        let program = program.display();
        let message = format!(
            "`{program}` does not serve tests: it is too old, or not cargo-banger{said}\n{INSTALL}"
        );
        Self::Unavailable { message }
    }

    pub(crate) fn ended(said: Option<String>) -> Self {
        let message = "cargo-banger ended without an answer".to_owned();
        let causes = said.into_iter().collect();
        Self::Failed(Failure { code: 249, message, causes, ..Failure::default() })
    }

    pub(crate) fn too_much(most: usize) -> Self {
        let message = format!("the command wrote more than {} MiB", most >> 20);
        let hint = Some("have it write to a file, and `pull` that".to_owned());
        Self::Failed(Failure { code: 249, message, hint, ..Failure::default() })
    }

    /// Whether every test of this run would fail alike: because of the host, or of settings.
    pub(crate) fn concerns_all(&self) -> bool {
        /// Wrong settings, host not ready, image not built: see `cargo banger --help`.
        const CODES: [u8; 3] = [240, 241, 245];
        match self {
            Self::Unavailable { .. } => true,
            Self::Failed(failure) => CODES.contains(&failure.code),
        }
    }

    /// Whether a command ran into its time limit.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.code == 244)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { message } => f.write_str(&shown(message)),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
