//! Executables of this workspace that are taken into the lab.

use std::path::PathBuf;
use std::process::Command;

/// Has cargo build a package's integration test, and returns its executable.
///
/// # Panics
/// Where it does not build.
#[must_use]
pub fn test_binary(package: &str, test: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["test", "-q", "-p", package, "--test", test, "--no-run"]);
    let built = build.arg("--message-format=json").output();
    let built = built.unwrap_or_else(|error| panic!("cargo: {error}"));
    let said = String::from_utf8_lossy(&built.stdout).into_owned();
    assert!(built.status.success(), "{said}\n{}", String::from_utf8_lossy(&built.stderr));
    // One message a line; of the executables built, the test is the one that bears its name.
    let paths =
        said.lines().filter_map(|line| line.split_once(r#""executable":""#)?.1.split('"').next());
    let mut paths = paths.map(PathBuf::from);
    let named = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&format!("{test}-"))
    };
    paths.find(named).unwrap_or_else(|| panic!("no executable of {package}'s test {test}: {said}"))
}
