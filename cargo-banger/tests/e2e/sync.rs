//! The guest sees the workspace as it is, and only what changed travels.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::time::Duration;

use fs_err as fs;

use crate::common::{Outcome, Program, TestEnvironment, Workspace};

/// Prints every entry's name, kind, mode and link target, then every file's checksum.
const LISTING: &str = "{ find . -mindepth 1 -path ./target -prune -o -printf '%P|%y|%m|%l\\0'; \
                       find . -path ./target -prune -o -type f -exec md5sum {} \\; | tr '\\n' '\\0'; \
                       } | LC_ALL=C sort -z";

#[test]
fn the_guest_sees_names_modes_links_and_deletions_as_they_are() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "odd");
    let not_utf8 = OsStr::from_bytes(b"not \xff\xfe utf-8");
    workspace.write("with spaces/and 'quotes' \"too\"", "1");
    workspace.write("new\nline", "2");
    workspace.write(not_utf8, "3");
    workspace.write("-dash", "4");
    workspace.write("h\u{e4}ßlich/\u{1f980}", "5");
    workspace.write("empty", "");
    workspace.write("long", vec![b'x'; 3_000_000]);
    workspace.write("script.sh", "#!/bin/sh\necho runs\n");
    workspace.chmod("script.sh", 0o755);
    workspace.write("read-only", "6");
    workspace.chmod("read-only", 0o444);
    workspace.write("private", "7");
    workspace.chmod("private", 0o600);
    fs::create_dir_all(workspace.root().join("empty dir/deep")).unwrap();
    symlink("script.sh", workspace.root().join("link")).unwrap();
    symlink("/no/such place", workspace.root().join("dangling")).unwrap();
    symlink("with spaces", workspace.root().join("link to dir")).unwrap();
    same_listing(&env, &workspace);

    for gone in ["with spaces/and 'quotes' \"too\"", "new\nline", "link to dir", "empty"] {
        fs::remove_file(workspace.root().join(gone)).unwrap();
    }
    fs::remove_dir_all(workspace.root().join("empty dir")).unwrap();
    // One kind in the place of another.
    fs::create_dir(workspace.root().join("empty")).unwrap();
    fs::remove_file(workspace.root().join("link")).unwrap();
    workspace.write("link", "a file now");
    fs::remove_file(workspace.root().join("long")).unwrap();
    symlink("private", workspace.root().join("long")).unwrap();
    workspace.chmod("script.sh", 0o644);
    workspace.chmod("read-only", 0o644);
    workspace.write("read-only", "changed");
    same_listing(&env, &workspace);
}

#[test]
fn what_is_ignored_stays_at_home() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "choosy");
    workspace.write(".gitignore", "*.log\n!kept.log\n");
    workspace.write(".bangerignore", "secret/\n");
    for path in ["a.log", "kept.log", "secret/key", ".hidden", "target/debug/old", ".git/config"] {
        workspace.write(path, "x");
    }
    let listing = "for f in a.log kept.log secret/key .hidden target/debug/old; do \
                   test -e $f && echo $f; done; true";
    let outcome = plain(&env, &workspace, listing).run().code(0);
    assert_eq!(outcome.text(), "kept.log\n.hidden\n");
}

#[test]
fn only_what_changed_travels() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "frugal");
    for number in 0..200 {
        workspace.write(format!("data/{number}"), format!("content {number}"));
    }
    let run = || plain(&env, &workspace, "cat data/7").run().code(0);
    let first = sent(&run());
    assert!(first >= 202, "{first}");
    assert_eq!(sent(&run()), 0);
    workspace.write("data/7", "changed");
    let outcome = run();
    assert_eq!((sent(&outcome), outcome.text().as_str()), (1, "changed"));
    // The same content under a new time is no change.
    workspace.write("data/7", "changed");
    assert_eq!(sent(&run()), 0);
}

#[test]
fn what_the_guest_writes_is_gone_but_for_target() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "pristine");
    let script = "echo x >src/written.rs; echo y >>src/lib.rs; rm Cargo.toml; \
                  mkdir -p target/debug; echo warm >target/debug/built";
    plain(&env, &workspace, script).run().code(0);
    assert!(!workspace.root().join("src/written.rs").exists());
    assert!(!workspace.root().join("target/debug").exists());
    let script = "ls src; wc -l <src/lib.rs; test -f Cargo.toml; cat target/debug/built";
    let outcome = plain(&env, &workspace, script).run().code(0);
    assert_eq!(outcome.text(), "lib.rs\n2\nwarm\n");
}

#[test]
fn cargo_works_offline_with_a_dependency_from_outside_and_stays_warm() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let outside = Workspace::new(env.work(), "outside");
    outside.write("src/lib.rs", "pub fn answer() -> u32 { 42 }\n");
    let workspace = Workspace::new(env.work(), "inside");
    workspace.configure("[dependencies]\noutside = { path = \"../outside\" }");
    workspace
        .write("src/lib.rs", "#[test]\nfn asks_outside() { assert_eq!(outside::answer(), 42); }\n");
    let run = || {
        let banger = env.banger(["run", "--", "cargo", "test", "--lib"]);
        banger.directory(workspace.root()).limit(Duration::from_secs(400)).run()
    };
    let cold = run().code(0).says(&["Compiling outside", "Compiling inside"]);
    assert!(cold.text().contains("asks_outside ... ok"), "{cold}");
    run().code(0).says(&["Finished"]).does_not_say("Compiling");
    outside.write("src/lib.rs", "pub fn answer() -> u32 { 6 * 9 }\n");
    run().code(101).says(&["Compiling outside"]);
    env.assert_nothing_left();
}

/// A script in a workspace, without the toolchain, saying what was sent.
fn plain(env: &TestEnvironment, workspace: &Workspace, script: &str) -> Program {
    env.banger(["-v", "run", "--", "sh", "-c", script])
        .directory(workspace.root())
        .env("BANGER_TOOLCHAIN", "false")
}

/// Lists the workspace in the guest and here.
#[track_caller]
fn same_listing(env: &TestEnvironment, workspace: &Workspace) {
    let there = plain(env, workspace, LISTING).run().code(0);
    let here = env.program("sh").args(["-c", LISTING]).directory(workspace.root()).run().code(0);
    let lines = |outcome: &Outcome| {
        let entries = outcome.stdout.split(|byte| *byte == 0);
        entries.map(|line| line.escape_ascii().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&there), lines(&here), "left: in the guest, right: on the host");
}

/// How many files a run says it sent.
fn sent(outcome: &Outcome) -> u32 {
    let told = outcome.stderr.split("sent ").nth(1).and_then(|rest| rest.split(' ').next());
    told.map_or(0, |number| number.parse().unwrap())
}
