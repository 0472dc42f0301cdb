//! The agent itself, run on this host over pipes, with steps that need no rights.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use camino::Utf8Path;
use fs_err as fs;

use super::*;

/// Runs batches in the agent and returns what it answers.
fn answers(batches: &[Batch]) -> Vec<String> {
    let mut command = Command::new(concat!(env!("OUT_DIR"), "/agent"));
    let mut agent = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = agent.stdin.take().unwrap();
    for (batch, number) in batches.iter().zip(1..) {
        stdin.write_all(batch.text(number).as_bytes()).unwrap();
    }
    drop(stdin);
    let output = agent.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn files_directories_and_links_are_made_as_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| format!("{}/{name}", dir.path().display());
    let content = "a\tb\\n\nc \u{1f980}";
    let batch = Batch::new()
        .directory(&path("odd\tname/below"))
        .file(&path("odd\tname/below/file"), 0o640, content)
        .link(&path("link"), "nowhere at all")
        .link(&path("link"), "elsewhere");
    assert_eq!(answers(&[batch]), ["banger: ready", "banger: done 1"]);
    let dir = Utf8Path::from_path(dir.path()).unwrap();
    let file = dir.join("odd\tname/below/file");
    assert_eq!(fs::read_to_string(&file).unwrap(), content);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_link(dir.join("link")).unwrap().to_str(), Some("elsewhere"));
}

#[test]
fn the_first_step_that_fails_is_told_and_ends_the_batch() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| format!("{}/{name}", dir.path().display());
    let failing = Batch::new().file(&path("no/such"), 0o600, "x").directory(&path("never"));
    let told = answers(&[failing, Batch::new().directory(&path("made"))]);
    assert_eq!(told[1], "banger: failed 1 file: error 2");
    assert_eq!(told[2], "banger: done 2");
    assert!(!dir.path().join("never").exists() && dir.path().join("made").exists());
}

#[test]
fn programs_are_run_to_their_end_and_processes_signalled() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| format!("{}/{name}", dir.path().display());
    let mut sleeper = Command::new("sleep").arg("600").spawn().unwrap();
    fs::write(path("pid"), format!("{}\n", sleeper.id())).unwrap();
    let script = format!("echo ran >{}; exit 3", path("ran"));
    let batch = Batch::new()
        .run("/bin/sh", ["-c", &script])
        .signal(&path("pid"), Signal::TERM)
        .signal(&path("no such pid"), Signal::TERM);
    assert_eq!(answers(&[batch])[1], "banger: failed 1 signal: error 2");
    assert_eq!(fs::read_to_string(path("ran")).unwrap(), "ran\n");
    let status = sleeper.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
}

#[test]
fn a_step_of_another_version_is_refused() {
    let unknown = Batch::new().step(&["levitate", "1"]);
    assert_eq!(answers(&[unknown])[1], "banger: failed 1 an unknown step: error 22");
}

#[test]
fn long_lines_arrive_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = format!("{}/long", dir.path().display());
    let content = "0123456789".repeat(1000);
    answers(&[Batch::new().file(&path, 0o600, &content)]);
    assert_eq!(fs::read_to_string(path).unwrap(), content);
}
