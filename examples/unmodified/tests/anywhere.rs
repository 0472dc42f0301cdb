//! Tests that pass on any Linux: with files of the package, with files of their own, with the
//! package's program.

#![expect(clippy::disallowed_methods, reason = "an example without fs_err")]

use std::path::{Path, PathBuf};
use std::process::Command;

use example_unmodified::{holding, parse};

fn assert_is_the_fixture(path: &Path) {
    let text = std::fs::read_to_string(path).expect("the fixture is there");
    let mounts = parse(&text);
    assert_eq!(mounts.len(), 3);
    assert_eq!(holding(&mounts, "/srv/two words/file").expect("it is listed").kind, "tmpfs");
}

#[test]
fn a_fixture_is_read_relative_to_the_package() {
    assert_is_the_fixture(Path::new("tests/fixtures/mounts"));
}

#[test]
fn a_fixture_is_read_below_the_manifest_directory() {
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_is_the_fixture(&built.join("tests/fixtures/mounts"));
    let run = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    assert_eq!(built, Path::new(&run));
}

fn write_and_read_back(directory: PathBuf) {
    let directory = directory.join(format!("example-unmodified-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("it can be made");
    let file = directory.join("mounts");
    std::fs::write(&file, "none /here tmpfs rw 0 0\n").expect("it takes a file");
    let mounts = parse(&std::fs::read_to_string(&file).expect("the file is there"));
    assert_eq!(mounts[0].point, "/here");
    std::fs::remove_dir_all(&directory).expect("it can be removed");
}

#[test]
fn a_temporary_directory_takes_files() {
    write_and_read_back(std::env::temp_dir());
}

#[test]
fn cargos_temporary_directory_takes_files() {
    write_and_read_back(env!("CARGO_TARGET_TMPDIR").into());
}

#[test]
fn the_program_tells_what_a_path_lies_on() {
    let output = Command::new(env!("CARGO_BIN_EXE_mounted")).arg("/proc/self").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "proc\n");
    assert!(output.status.success());
}

#[test]
fn the_program_fails_without_a_path() {
    let output = Command::new(env!("CARGO_BIN_EXE_mounted")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "mounted: usage: mounted PATH\n");
    assert_eq!(output.status.code(), Some(1));
}
