//! What the tests of programs share: temporary directories, and compilers to make programs with.

use std::io::ErrorKind;
use std::process::{Command, Output};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

/// A temporary directory, by its canonical path.
pub(crate) struct TempDir {
    _dir: tempfile::TempDir,
    path: Utf8PathBuf,
}

impl TempDir {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().canonicalize_utf8().unwrap();
        Self { _dir: dir, path }
    }

    pub(crate) fn join(&self, path: &str) -> Utf8PathBuf {
        self.path.join(path)
    }

    /// Writes a file and the directories above it.
    pub(crate) fn write(&self, path: &str, text: &str) -> Utf8PathBuf {
        let path = self.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

/// Compiles with `cc` in that directory; says so and returns false where there is no compiler.
pub(super) fn cc(dir: &TempDir, arguments: &[&str]) -> bool {
    compile("cc", dir, arguments)
}

/// Compiles with `rustc`, in the same way.
pub(super) fn rustc(dir: &TempDir, arguments: &[&str]) -> bool {
    compile("rustc", dir, arguments)
}

/// Runs a program that has to succeed; returns what it prints, to both ends.
pub(super) fn run(command: &mut Command) -> (String, String) {
    let Output { status, stdout, stderr } = output(command);
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

/// Another test's child may hold a new program open for a moment, before it becomes what it runs.
fn output(command: &mut Command) -> Output {
    loop {
        match command.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => return output.unwrap(),
        }
    }
}

fn compile(compiler: &str, dir: &TempDir, arguments: &[&str]) -> bool {
    let mut command = Command::new(compiler);
    command.args(arguments).current_dir(dir.join(""));
    let there = Command::new(compiler).arg("--version").output();
    if there.is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        eprintln!("skipped: `{compiler}` is not installed");
        return false;
    }
    run(&mut command);
    true
}
