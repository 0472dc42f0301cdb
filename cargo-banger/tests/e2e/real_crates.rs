//! The unmodified test suites of published crates, built and run in a guest that is offline.

use std::time::Duration;

use camino::Utf8PathBuf;
use fs_err as fs;

use crate::common::{TestEnvironment, skip};

/// rustc under emulation takes its time.
const LIMIT: Duration = Duration::from_secs(1200);

#[test]
fn semver() {
    passes("semver", "1.0.27");
}

#[test]
fn itoa() {
    passes("itoa", "1.0.15");
}

#[test]
fn walkdir() {
    passes("walkdir", "2.5.0");
}

/// Its build compiles the C sources of LZ4.
#[test]
fn lz4_with_its_c_code() {
    passes("lz4", "1.28.1");
}

/// Fetches a crate as it was published and runs `cargo test` on it in a VM.
fn passes(name: &str, version: &str) {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let Some(source) = fetch(&env, name, version) else { return };
    let args = ["run", "--ram", "3072", "--", "cargo", "test"];
    let outcome = env.banger(args).directory(&source).limit(LIMIT).run().code(0);
    let results = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let passed = results.matches("test result: ok.").count();
    assert!(passed > 0 && !results.contains("FAILED"), "{outcome}");
    env.assert_nothing_left();
}

/// The crate's sources, through a package that depends on it; `None`, with the reason printed,
/// where the registry cannot be reached.
fn fetch(env: &TestEnvironment, name: &str, version: &str) -> Option<Utf8PathBuf> {
    let package = env.work().join("fetch");
    let manifest = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\n\
         [dependencies]\n{name} = \"={version}\"\n"
    );
    fs::create_dir_all(package.join("src")).unwrap();
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::write(package.join("src/lib.rs"), "").unwrap();
    let vendor = env.program("cargo").args(["vendor", "--quiet", "../vendor"]);
    let outcome = vendor.directory(&package).run();
    if !outcome.status.success() {
        skip(&format!("{name} cannot be fetched: {}", outcome.text()));
        return None;
    }
    let source = env.work().join(name);
    fs::rename(env.work().join("vendor").join(name), &source).unwrap();
    // What vendoring added.
    fs::remove_file(source.join(".cargo-checksum.json")).unwrap();
    Some(source)
}
