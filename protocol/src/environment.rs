//! Which of the host's variables a program in a guest sees without being asked for: those that
//! cargo, nextest and the test harness speak to it with, and those about colours.

use std::ffi::OsString;

/// Those that any command in a guest sees.
pub const NAMES: &[&str] =
    &["CI", "CLICOLOR", "CLICOLOR_FORCE", "COLORTERM", "FORCE_COLOR", "NO_COLOR"];

const PREFIXES: &[&str] =
    &["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_", "NEXTEST", "RUST_"];

/// Further names that begin with `CARGO_` but are no secret and no path of the host's tools.
const CARGO: &[&str] =
    &["CARGO_INCREMENTAL", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR", "CARGO_TERM_COLOR"];

/// Those of the variables that are passed on. A name that is no text is none of them.
pub fn passed(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (String, OsString)> {
    let named = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    named.filter(|(name, _)| passes(name))
}

/// Whether a variable is passed on to a program that was built on the host.
fn passes(name: &str) -> bool {
    NAMES.contains(&name)
        || CARGO.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_reads_passes_and_what_the_host_is_does_not() {
        for name in ["RUST_LOG", "CARGO_MANIFEST_DIR", "CARGO_BIN_EXE_x", "NEXTEST_RUN_ID", "CI"] {
            assert!(passes(name), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO", "CARGO_HOME", "CARGO_REGISTRY_TOKEN", "TMPDIR"] {
            assert!(!passes(name), "{name}");
        }
    }
}
