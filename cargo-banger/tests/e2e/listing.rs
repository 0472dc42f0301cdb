//! What tests an executable has: asked in a VM, once.

use std::time::Duration;

use camino::Utf8PathBuf;
use fs_err as fs;

use crate::common::{BANGER, Outcome, Program, TestEnvironment, Workspace, entries, has_nextest};

const LIMIT: Duration = Duration::from_secs(300);

/// A workspace whose one integration test has no harness.
fn workspace(env: &TestEnvironment, main: &str) -> Workspace {
    let workspace = Workspace::new(env.work(), "own");
    workspace.configure("[[test]]\nname = \"h\"\nharness = false");
    workspace.write("tests/h.rs", format!("fn main() {{ {main} }}\n"));
    workspace
}

fn banger(env: &TestEnvironment, workspace: &Workspace, args: &[&str]) -> Outcome {
    env.banger(args).directory(workspace.root()).limit(LIMIT).run()
}

/// It minds no arguments, and leaves a trace wherever it runs.
#[test]
fn no_code_of_a_test_executable_runs_on_the_host() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let trace = env.work().join("trace");
    let workspace = workspace(&env, &format!("std::fs::write({trace:?}, \"\").unwrap();"));
    let isolated = banger(&env, &workspace, &["test", "--isolate", "test", "--tests"]).code(0);
    assert!(isolated.text().contains("test h ... ok"), "{isolated}");
    banger(&env, &workspace, &["test", "--tests"]).code(0);
    if has_nextest() {
        let args = ["nextest", "run", "--status-level=all"];
        banger(&env, &workspace, &args).code(0).says(&["own::h h", "2 passed"]);
    }
    assert!(!trace.exists(), "it ran here");
    env.assert_nothing_left();
}

/// It lists nothing, and fails when it runs.
#[test]
fn what_does_not_list_is_not_counted_without_having_run() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let main = "if std::env::args().len() == 1 { std::process::exit(3) }";
    let workspace = workspace(&env, main);
    let isolated = banger(&env, &workspace, &["test", "--isolate", "test", "--tests"]).code(101);
    assert!(isolated.text().contains("test h ... FAILED"), "{isolated}");
    assert!(isolated.text().contains("test own passes ... ok"), "{isolated}");
    if has_nextest() {
        let args = ["nextest", "run", "--status-level=all", "--no-fail-fast"];
        banger(&env, &workspace, &args).code(100).says(&["own::h h", "1 passed, 1 failed"]);
    }
    env.assert_nothing_left();
}

#[test]
fn one_that_fails_to_list_fails_with_what_it_said() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let main = "eprintln!(\"no \\x1b[2J database\"); std::process::exit(7)";
    let workspace = workspace(&env, main);
    let test = executable(&env, &workspace);
    let args = ["runner", test.as_str(), "--list", "--format", "terse"];
    let said = ["does not list its tests: it exited with status 7", "no \\u{1b}[2J database"];
    banger(&env, &workspace, &args).code(7).says(&said);
    let isolated = banger(&env, &workspace, &["test", "--isolate", "test", "--test", "h"]);
    isolated.code(240).says(&said).says(&["--isolate binary"]);
    env.assert_nothing_left();
}

/// Its tests are the lines of a file of the workspace.
#[test]
fn a_list_holds_until_something_changes() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let main = "let text = std::fs::read_to_string(\"cases.txt\").unwrap(); \
        for name in text.lines().chain(std::env::var(\"MORE\").as_deref()) { println!(\"{name}: test\"); }";
    let workspace = workspace(&env, main);
    workspace.write("cases.txt", "one\ntwo\n");
    let test = executable(&env, &workspace);
    let list = |more: &[&str]| {
        let args = ["runner"].into_iter().chain(more.iter().copied());
        let args = args.chain([test.as_str(), "--list", "--format", "terse"]);
        env.banger(args).directory(workspace.root()).limit(LIMIT)
    };
    let first = list(&[]).run().code(0);
    assert_eq!(first.text(), "one: test\ntwo: test\n");
    assert_eq!(without_vmm(list(&[])).run().code(0).text(), first.text());

    workspace.write("cases.txt", "three\n");
    assert!(needs_a_vm(list(&[])));
    assert_eq!(list(&[]).run().code(0).text(), "three: test\n");
    assert_eq!(without_vmm(list(&[])).run().code(0).text(), "three: test\n");

    let more = &["--env", "MORE=four"];
    assert!(needs_a_vm(list(more)));
    assert_eq!(list(more).run().code(0).text(), "three: test\nfour: test\n");
    env.assert_nothing_left();
}

/// Where no VM can start.
fn without_vmm(program: Program) -> Program {
    program.env("PATH", "/nowhere").env("CARGO", env!("CARGO"))
}

fn needs_a_vm(program: Program) -> bool {
    !without_vmm(program).run().status.success()
}

/// The test's executable, built.
fn executable(env: &TestEnvironment, workspace: &Workspace) -> Utf8PathBuf {
    let cargo = env.program("cargo").args(["test", "--no-run"]).directory(workspace.root());
    cargo.limit(LIMIT).run().code(0);
    let built = entries(&workspace.root().join("target/debug/deps"));
    let is_test = |path: &Utf8PathBuf| {
        path.extension().is_none() && path.file_name().is_some_and(|name| name.starts_with("h-"))
    };
    let test = built.into_iter().find(is_test).unwrap();
    assert!(fs::metadata(&test).unwrap().is_file() && BANGER != test);
    test
}
