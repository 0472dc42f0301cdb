//! What the options of `run` promise.

use std::time::Duration;

use fs_err as fs;

use crate::common::{TestEnvironment, Workspace};

#[test]
fn the_command_sees_the_directory_and_the_variables_it_was_given() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "given");
    let below = workspace.root().join("src");
    let script = "pwd; printf '%s|' \"$TAKEN\" \"$GIVEN\" \"${OTHER-unset}\"; ls";
    let outcome = env
        .banger(["run", "--env", "TAKEN", "--env", "GIVEN=a b,c='d'", "--", "sh", "-c", script])
        .directory(&below)
        .env("BANGER_TOOLCHAIN", "false")
        .env("TAKEN", "from the host")
        .env("OTHER", "not asked for")
        .run()
        .code(0);
    assert_eq!(outcome.text(), format!("{below}\nfrom the host|a b,c='d'|unset|lib.rs\n"));
}

#[test]
fn without_sync_the_guest_holds_no_workspace() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "absent");
    let args = ["run", "--no-sync", "--", "test", "!", "-e", workspace.root().as_str()];
    env.banger(args).directory(workspace.root()).run().code(0);
}

#[test]
fn a_timeout_ends_the_command_and_files_still_come_back() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "echo partial >/root/log; sleep 600";
    let args = ["run", "--no-sync", "--timeout", "3s", "--out", "/root/log:brought/log"];
    fs::create_dir(env.work().join("brought")).unwrap();
    let outcome =
        env.banger(args).args(["--", "sh", "-c", script]).limit(Duration::from_secs(90)).run();
    outcome.code(244).says(&["did not end within 3s"]);
    assert_eq!(fs::read_to_string(env.work().join("brought/log")).unwrap(), "partial\n");
    env.assert_nothing_left();
}

#[test]
fn files_come_back_from_a_command_that_failed() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "mkdir -p /root/result/sub; echo one >/root/result/1; echo two >/root/result/sub/2; \
                  exit 3";
    let args = ["run", "--no-sync", "--out", "/root/result:result", "--", "sh", "-c", script];
    env.banger(args).run().code(3);
    let read = |path: &str| fs::read_to_string(env.work().join("result").join(path)).unwrap();
    assert_eq!((read("1").as_str(), read("sub/2").as_str()), ("one\n", "two\n"));
}

#[test]
fn files_travel_although_the_guest_has_no_network_any_more() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "cut-off");
    let script = "! [ -e /sys/class/net/eth0 ] || ip link set eth0 down; echo out >report";
    let args = ["run", "--out", "report:brought", "--", "sh", "-c", script];
    env.banger(args).directory(workspace.root()).run().code(0);
    let brought = fs::read_to_string(workspace.root().join("brought")).unwrap();
    assert_eq!(brought, "out\n");
    env.assert_nothing_left();
}

#[test]
fn a_file_that_is_not_there_to_bring_back_is_named() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let args = ["run", "--no-sync", "--out", "/root/nothing:here", "--", "true"];
    env.banger(args).run().code(246).says(&["/root/nothing"]);
    env.assert_nothing_left();
}

#[test]
fn timings_are_one_line_of_json_that_adds_up() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let args = ["--quiet", "run", "--no-sync", "--timings=json", "--", "sleep", "1"];
    let outcome = env.banger(args).run().code(0);
    let timings: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
    let stages = timings["stages"].as_object().unwrap();
    for stage in ["check", "image", "template", "overlay", "boot", "connect", "command", "teardown"]
    {
        assert!(stages[stage].is_number(), "{timings}");
    }
    assert!(stages["command"].as_f64().unwrap() >= 1000.0, "{timings}");
    let sum: f64 = stages.values().filter_map(serde_json::Value::as_f64).sum();
    let total = timings["total"].as_f64().unwrap();
    // A stage more or less would show; a busy host takes its time between them, too.
    assert!(sum > 0.75 * total && sum < 1.05 * total, "{timings}");
    assert!(total <= outcome.took.as_secs_f64() * 1e3, "{timings} took {:?}", outcome.took);
}
