//! The environment variables that banger reads, each declared once. Settings have theirs beside
//! their key, in `settings::keys`.

use std::ffi::OsString;

use banger_lifecycle::workspace::Trust;
use banger_protocol::environment;

/// Puts cache, state and sockets under one directory.
pub(crate) const HOME: &str = "BANGER_HOME";
/// The cargo that runs us as its subcommand; set by cargo.
pub(crate) const CARGO: &str = "CARGO";
/// The compiler that cargo is to use.
pub(crate) const RUSTC: &str = "RUSTC";

/// The toolchain that rustup's proxies start; set by the user, or by the proxy that started cargo.
pub(crate) const RUSTUP_TOOLCHAIN: &str = "RUSTUP_TOOLCHAIN";

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

/// Variables of the host that a command sees; an untrusted one sees none.
pub(crate) fn for_commands(trust: Trust) -> impl Iterator<Item = (String, OsString)> {
    let names = environment::NAMES.iter().chain(PASSED);
    let names = names.filter(move |_| trust == Trust::Trusted);
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
