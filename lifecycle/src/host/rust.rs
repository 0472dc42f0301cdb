//! Cargo and the Rust toolchain: whether they are there, and where the toolchain came from.

use std::ffi::OsStr;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::finding::{Finding, Purpose, Remedy, State};
use super::version::{Version, ask};
use crate::process::find_program;

/// Where a toolchain came from, which decides what of it can be given to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysrootKind {
    /// One directory of rustup's.
    Rustup,
    /// The distribution's, spread over `/usr`.
    Distribution,
    /// One directory that somebody put somewhere.
    Standalone,
}

impl SysrootKind {
    /// Tells by the directory.
    #[must_use]
    pub fn of(sysroot: &Utf8Path) -> Self {
        let parent = sysroot.parent().and_then(Utf8Path::file_name);
        if sysroot == "/usr" || sysroot == "/" {
            Self::Distribution
        } else if parent == Some("toolchains") {
            Self::Rustup
        } else {
            Self::Standalone
        }
    }
}

/// What is known of the toolchain in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rust {
    /// Cargo's version, where it answers.
    pub cargo: Option<Version>,
    /// The compiler's version, where it answers.
    pub rustc: Option<Version>,
    /// The toolchain's directory, where the compiler tells.
    pub sysroot: Option<Utf8PathBuf>,
}

/// Asks cargo and rustc, as this directory selects them. Never makes rustup install anything.
#[must_use]
pub fn look_up(path: Option<&OsStr>) -> Rust {
    let said = |program: &str, args: &[&str]| {
        let program = find_program(program, path)?;
        let answer = ask(&program, args, path, Duration::from_secs(10))?;
        answer.status.success().then_some(answer.text)
    };
    let version = |program: &str| Version::find(&said(program, &["--version"])?);
    Rust {
        cargo: version("cargo"),
        rustc: version("rustc"),
        sysroot: said("rustc", &["--print", "sysroot"]).map(|text| text.trim().into()),
    }
}

/// The findings for a survey.
#[must_use]
pub fn findings(rust: &Rust) -> [Finding; 2] {
    let advice = || Remedy::Advice("install Rust, for example from https://rustup.rs".to_owned());
    let ready = |id, detail| Finding::ready(id, id, Purpose::Run, detail);
    let cargo = match rust.cargo {
        Some(version) => ready("cargo", version.to_string()),
        None => ready("cargo", "not found, or does not answer".to_owned())
            .but(State::Missing, "no workspace can be read")
            .mended_by(advice()),
    };
    let rustc = match (rust.rustc, &rust.sysroot) {
        (Some(version), Some(sysroot)) => {
            let from = match SysrootKind::of(sysroot) {
                SysrootKind::Rustup => "rustup's",
                SysrootKind::Distribution => "the distribution's",
                SysrootKind::Standalone => "standalone",
            };
            ready("rustc", format!("{version}, {from}, {sysroot}"))
        }
        _ => ready("rustc", "not found, or does not answer".to_owned())
            .but(State::Missing, "no toolchain to give to a guest")
            .mended_by(advice()),
    };
    [cargo, rustc]
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;

    #[test]
    fn the_directory_tells_where_a_toolchain_came_from() {
        let cases = [
            ("/home/a/.rustup/toolchains/stable-x86_64-unknown-linux-gnu", SysrootKind::Rustup),
            ("/usr", SysrootKind::Distribution),
            ("/opt/rust", SysrootKind::Standalone),
        ];
        for (sysroot, kind) in cases {
            assert_eq!(SysrootKind::of(Utf8Path::new(sysroot)), kind, "{sysroot}");
        }
    }

    #[test]
    fn the_toolchain_on_path_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        fake::program(dir.path(), "cargo", "echo cargo 1.90.0");
        let rustc = "case $1 in --version) echo rustc 1.91.0;; --print) echo /usr;; esac";
        fake::program(dir.path(), "rustc", rustc);
        let [cargo, rustc] = findings(&look_up(Some(dir.path().as_os_str())));
        assert_eq!(cargo.detail, "1.90.0");
        assert_eq!(rustc.detail, "1.91.0, the distribution's, /usr");
    }

    #[test]
    fn a_toolchain_that_fails_to_answer_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let body = "echo \"error: toolchain 1.2.3 is not installed\"; exit 1";
        fake::program(dir.path(), "cargo", body);
        fake::program(dir.path(), "rustc", body);
        for finding in findings(&look_up(Some(dir.path().as_os_str()))) {
            assert!(finding.blocks_main_job(), "{finding:?}");
        }
    }
}
