//! Templates with more in place: made where it pays, stale never, and a guest of each for itself.

use fs_err as fs;

use crate::common::{Outcome, TestEnvironment, Vmm, Workspace, entries, skip};

/// The use at which a template with a workspace in place is made.
const USES: usize = 12;

/// What tells that one is made.
const MADE: &str = "making a template with more in place";

/// A place with templates of its own.
fn environment() -> Option<TestEnvironment> {
    if Vmm::of_the_suite() != Vmm::Qemu {
        skip("only QEMU's templates have more in place");
        return None;
    }
    TestEnvironment::sharing_images_only(1)
}

#[test]
fn the_toolchain_is_in_place_from_the_second_build_on() {
    let Some(env) = environment() else { return };
    let workspace = Workspace::new(env.work(), "warm");
    let build = |tests: &str| {
        workspace.write("src/lib.rs", tests);
        let script = "cargo test && cat /etc/machine-id";
        env.banger(["run", "--", "sh", "-c", script]).directory(workspace.root()).run().code(0)
    };
    let first = build("#[test] fn one() {}").does_not_say(MADE);
    let second = build("#[test] fn one() {}\n#[test] fn two() {}").says(&[MADE]);
    let third = build("#[test] fn three() {}").does_not_say(MADE);
    let machines = [&first, &second, &third].map(machine_id);
    assert!(machines[0] != machines[1] && machines[1] != machines[2], "{machines:?}");
    for (outcome, tests) in [(first, "1 passed"), (second, "2 passed"), (third, "1 passed")] {
        assert!(outcome.text().contains(tests), "{outcome}");
    }
    // A damaged one is thrown away as any other.
    let list = env.banger(["template", "list", "--json"]).run().code(0).text();
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let furnished = list.iter().find(|one| one["what"].as_str().unwrap().contains("toolchain"));
    let key = furnished.unwrap()["key"].as_str().unwrap();
    fs::write(env.cache().join("templates").join(key).join("memory"), "short").unwrap();
    let again = build("#[test] fn four() {}");
    assert!(again.text().contains("1 passed"), "{again}");
    env.assert_nothing_left();
}

#[test]
fn what_the_host_built_starts_with_its_workspace_in_place() {
    let Some(env) = TestEnvironment::sharing_images_only(2) else { return };
    let workspace = Workspace::new(env.work(), "series");
    workspace.write("fixture", "one\n");
    let cat = || {
        let args = ["runner", "/bin/cat", "fixture", "/etc/machine-id"];
        env.banger(args).directory(workspace.root()).run().code(0)
    };
    // The first sends the workspace, so that the next finds one that did not change.
    let made: Vec<_> = (0..=USES).map(|_| cat()).collect();
    let making = made.iter().filter(|outcome| outcome.stderr.contains(MADE)).count();
    assert_eq!(making, 1, "{}", made[USES]);
    let (one, other) = (cat(), cat());
    assert!(one.text().starts_with("one\n") && one.text() != other.text(), "{one}{other}");

    // Neither what changes on the host nor what a guest writes is ever stale.
    let append = "echo more >>fixture; cat fixture";
    let run = env.banger(["run", "--", "sh", "-c", append]).env("BANGER_TOOLCHAIN", "false");
    let outcome = run.directory(workspace.root()).run().code(0);
    assert_eq!(outcome.text(), "one\nmore\n");
    assert!(cat().text().starts_with("one\n"));
    workspace.write("fixture", "two\n");
    assert!(cat().text().starts_with("two\n"));
    // Without the workspace disk the template that stands on it is of no use.
    env.banger(["gc", "--all"]).run().code(0);
    let disks = entries(&env.cache().join("workspaces"));
    assert!(!disks.iter().any(|path| path.is_dir()), "{disks:?}");
    assert!(cat().text().starts_with("two\n"));
    env.assert_nothing_left();
}

/// The machine ID among the lines that a run printed.
fn machine_id(outcome: &Outcome) -> String {
    let text = outcome.text();
    let id = |line: &&str| line.len() == 32 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.lines().find(id).unwrap_or_default().to_owned()
}
