//! The environment variables that banger reads, each declared once. Settings have theirs beside
//! their key, in `settings::keys`.

use std::ffi::OsString;

use banger_protocol::environment;

/// Puts cache, state and sockets under one directory.
pub(crate) const HOME: &str = "BANGER_HOME";
/// The cargo that runs us as its subcommand; set by cargo.
pub(crate) const CARGO: &str = "CARGO";

/// What kind of terminal ours is.
pub(crate) const TERM: &str = "TERM";

/// The run of nextest that a test belongs to; set by nextest.
pub(crate) const NEXTEST_RUN_ID: &str = "NEXTEST_RUN_ID";

/// Where loaders look for libraries first; cargo sets it for what it runs.
pub(crate) const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// Variables of the host that a guest command sees without being asked for, with those that
/// [every one](environment::NAMES) sees.
const PASSED: &[&str] = &[
    "CARGO_INCREMENTAL",
    "CARGO_TERM_COLOR",
    "RUSTFLAGS",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "RUST_TEST_THREADS",
];

/// Variables of the host that a command sees.
pub(crate) fn for_commands() -> impl Iterator<Item = (String, OsString)> {
    let names = environment::NAMES.iter().chain(PASSED);
    names.filter_map(|name| Some(((*name).to_owned(), read(name)?)))
}

/// Variables of the host that a program sees which was built on the host.
pub(crate) fn for_programs() -> impl Iterator<Item = (String, OsString)> {
    environment::passed(std::env::vars_os())
}

/// Reads a variable; an empty one counts as unset.
pub(crate) fn read(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
