//! Other users of the host see and change nothing. Where this one is root, it acts for them too.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use camino::Utf8Path;
use fs_err as fs;

use crate::common::TestEnvironment;

/// Somebody who is nobody's user.
const SOMEBODY: u32 = 65534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn set_mode(path: &Utf8Path, mode: u32) {
    fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_home_that_others_could_change_is_refused_by_name() {
    let env = TestEnvironment::without_vm();
    let home = env.home().join("home");
    fs::create_dir(&home).unwrap();
    let commands: [&[&str]; 4] =
        [&["run", "--no-sync", "--", "true"], &["ps"], &["gc"], &["image", "list"]];
    let refused = |text: &str| {
        for args in commands {
            let outcome = env.banger(args).env("BANGER_HOME", &home).run();
            outcome.code(240).says(&[home.as_str(), text, "BANGER_HOME"]);
        }
    };
    set_mode(&home, 0o777);
    refused("others can write to");
    set_mode(&home, 0o755);
    env.banger(["ps"]).env("BANGER_HOME", &home).run().code(0);
    if is_root() {
        // As with `sudo -E`.
        chown(&home, Some(SOMEBODY), None).unwrap();
        refused("`sudo -H`");
    }
    env.banger(["completions", "bash"]).env("BANGER_HOME", &home).run().code(0);
}

#[test]
fn directories_of_before_are_closed_to_others() {
    let env = TestEnvironment::without_vm();
    let of_before = ["cache", "cache/images", "state", "state/runs"].map(|d| env.home().join(d));
    for dir in &of_before {
        fs::create_dir(dir).unwrap();
        set_mode(dir, 0o755);
    }
    env.banger(["ps"]).run().code(0).does_not_say("0700");
    for dir in &of_before {
        assert_eq!(fs::metadata(dir).unwrap().mode() & 0o777, 0o700, "{dir}");
    }
    // Whoever can open a lock, if only to read, can hold it.
    let lock = env.home().join("state/runs/.lock");
    assert_eq!(fs::metadata(lock).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn somebody_elses_process_is_none_of_a_vm() {
    if !is_root() {
        return;
    }
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let named = format!("{}/state/runs/otter/config", env.home());
    let mut impostor = somebodys("ssh", &named);
    let args = ["run", "--no-sync", "--name", "otter", "--", "true"];
    env.banger(args).run().code(0);
    env.banger(["gc"]).run().code(0);
    assert!(impostor.try_wait().unwrap().is_none(), "it was killed");
    drop(impostor.stdin.take());
    impostor.wait().unwrap();
    env.assert_nothing_left();
}

/// A process of somebody else's that is called `name` and has an argument, until its input ends.
fn somebodys(name: &str, argument: &str) -> Child {
    let mut shell = Command::new("/bin/sh");
    shell.arg0(name).args(["-c", "read line", name, argument]).uid(SOMEBODY);
    shell.stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_kept_vm_keeps_what_it_stands_on() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    env.banger(["run", "--no-sync", "--keep", "--name", "stayer", "--", "true"]).run().code(0);
    let record = fs::read_to_string(env.home().join("state/runs/stayer/vm.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let template = record["meta"]["uses"]["templates"][0].as_str().unwrap();
    let image = record["meta"]["uses"]["images"][0].as_str().unwrap();
    let is_in_use = |command: &str, name: &str, value: &str| {
        let list = env.banger([command, "list", "--json"]).run().code(0);
        let rows: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
        rows.as_array().unwrap().iter().any(|row| row[name] == value && row["in_use"] == true)
    };
    assert!(is_in_use("image", "digest", image) && is_in_use("template", "key", template));
    env.banger(["image", "rm", image]).run().code(245).says(&["in use by a running VM"]);
    env.banger(["template", "rm", template]).run().code(245).says(&["a VM uses the template"]);
    env.banger(["stop", "stayer"]).run().code(0);
    env.assert_nothing_left();
}
