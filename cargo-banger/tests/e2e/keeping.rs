//! VMs that stay after their command: listed, entered, stopped.

use std::time::Duration;

use crate::common::{TestEnvironment, eventually};

#[test]
fn a_kept_vm_is_listed_entered_and_stopped() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "echo kept >/root/mark";
    env.banger(["run", "--no-sync", "--keep", "--name", "stayer", "--", "sh", "-c", script])
        .run()
        .code(0)
        .says(&["cargo banger shell stayer", "cargo banger stop stayer"]);
    env.banger(["gc", "--check"]).run().code(0);

    let listed = env.banger(["ps", "--json"]).run().code(0);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed[0]["meta"]["name"], "stayer", "{listed}");
    assert_eq!(listed[0]["attended"], false, "{listed}");

    let shell = env.banger(["shell", "stayer"]).input("cat /root/mark\nexit 5\n").run().code(5);
    assert!(shell.text().contains("kept"), "{shell}");

    // Somebody goes on with its logs.
    let input = "echo still $((40 + 2)) there >/dev/ttyS0\nexit 0\n";
    env.banger(["shell", "stayer"]).input(input).run().code(0);
    let printed = || env.consoles().contains("still 42 there");
    eventually(Duration::from_secs(60), "the console is written down", printed);

    let mut first = env.banger(["shell", "stayer"]).interactive().start();
    first.write("echo up$((40 + 2))\n");
    first.wait_for_stdout("up42");
    env.banger(["shell", "stayer"]).input("exit 6\n").run().code(6);
    first.write("exit 7\n");
    first.finish().code(7);

    env.banger(["run", "--no-sync", "--name", "stayer", "--", "true"])
        .run()
        .code(240)
        .says(&["`stayer`", "cargo banger stop stayer"]);

    env.banger(["stop", "stayer"]).run().code(0);
    env.assert_nothing_left();
    env.banger(["stop", "stayer"]).run().code(240).says(&["no VM is named `stayer`"]);
    env.banger(["shell", "stayer"]).run().code(240).says(&["no VM is named `stayer`"]);
}

#[test]
fn a_kept_vm_is_entered_although_its_network_is_down() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "! [ -e /sys/class/net/eth0 ] || ip link set eth0 down; echo mark >/root/mark; \
                  sleep 600 & exit 3";
    let args = ["run", "--no-sync", "--keep-on-failure", "--name", "cutoff", "--"];
    env.banger(args.into_iter().chain(["sh", "-c", script])).run().code(3).says(&["cutoff stays"]);
    for status in [4, 5] {
        let input = format!("cat /root/mark; pgrep -x sleep >/dev/null && exit {status}\n");
        let shell = env.banger(["shell", "cutoff"]).input(input).run().code(status);
        assert!(shell.text().contains("mark"), "{shell}");
    }
    env.banger(["stop", "cutoff"]).run().code(0);
    env.assert_nothing_left();
}

#[test]
fn keep_on_failure_keeps_failures_only() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let run = |command: &str| {
        let args = ["run", "--no-sync", "--keep-on-failure", "--name", "maybe", "--", command];
        env.banger(args).run()
    };
    run("true").code(0).does_not_say("stays");
    env.assert_nothing_left();
    run("false").code(1).says(&["maybe stays"]);
    assert_eq!(env.run_directories().len(), 1);
    env.banger(["stop", "maybe"]).run().code(0);
    env.assert_nothing_left();
}
