//! Wrong input is refused at once, by name, with what would be right.

use std::time::Duration;

use fs_err as fs;

use crate::common::{Outcome, TestEnvironment, Workspace};

/// Refused means: nothing was started, which takes no time.
const AT_ONCE: Duration = Duration::from_secs(10);

#[test]
fn values_out_of_range_are_refused_with_what_is_accepted() {
    let env = TestEnvironment::without_vm();
    let table = [
        (["--vcpu", "0"], "`0`", "1 to 16"),
        (["--vcpu", "17"], "`17`", "1 to 16"),
        (["--vcpu", "two"], "`two`", "1 to 16"),
        (["--ram", "1"], "`1`", "128 to 32768"),
        (["--ram", "32769"], "`32769`", "128 to 32768"),
        (["--overlay-size", "huge"], "`huge`", "8G"),
        (["--name", "No_Such"], "`No_Such`", "a-z, 0-9 and -"),
        (["--name", "-x"], "-x", ""),
        (["--vmm", "bochs"], "`bochs`", "qemu"),
        (["--accel", "hvf"], "`hvf`", "kvm or tcg"),
        (["--init", "upstart"], "`upstart`", "quick or systemd"),
        (["--net=bridge", "--no-sync"], "`bridge`", "user"),
        (["--net-pool", "8.8.8.0/24"], "`8.8.8.0/24`", "10.231.0.0/16"),
        (["--disk-rate", "fast"], "`fast`", "MiB a second"),
        (["--boot-timeout", "soon"], "`soon`", "90s"),
        (["--timeout", "0s"], "`0s`", "90s"),
        (["--out", "nowhere"], "`nowhere`", "GUEST:HOST"),
        (["--fetch-limit", "much"], "`much`", "16G"),
        (["--env", "1A=b"], "`1A=b`", "K=V"),
    ];
    for (flags, quoted, accepted) in table {
        let outcome = env.banger(["run"]).args(flags).args(["--", "true"]).limit(AT_ONCE).run();
        outcome.code(240).says(&[quoted, accepted]);
    }
    assert!(env.run_directories().is_empty());
}

#[test]
fn an_unknown_flag_or_command_names_the_nearest() {
    let env = TestEnvironment::without_vm();
    let refused = |args: &[&str]| env.banger(args).limit(AT_ONCE).run().code(240);
    refused(&["run", "--vcpus", "2", "--", "true"]).says(&["--vcpus", "similar", "--vcpu"]);
    refused(&["runn"]).says(&["runn", "run"]);
    refused(&["run"]).says(&["CMD"]);
}

#[test]
fn settings_of_every_source_are_checked_and_their_source_named() {
    let env = TestEnvironment::without_vm();
    let workspace = Workspace::new(env.work(), "configured");
    workspace.configure("[package.metadata.banger]\nvcpus = 4");
    let refused = |variable: &str, value: &str| {
        let banger = env.banger(["run", "--", "true"]).directory(workspace.root());
        banger.env(variable, value).limit(AT_ONCE).run().code(240)
    };
    refused("NOTHING", "").says(&["unknown key `vcpus`", "configured/Cargo.toml", "`vcpu`"]);
    let workspace = Workspace::new(env.work(), "ranged");
    workspace.configure("[package.metadata.banger]\nram = 5");
    let refused = |variable: &str, value: &str| {
        let banger = env.banger(["run", "--", "true"]).directory(workspace.root());
        banger.env(variable, value).limit(AT_ONCE).run().code(240)
    };
    refused("NOTHING", "").says(&["`5`", "ranged/Cargo.toml"]);
    refused("BANGER_RAM", "lots").says(&["`lots`", "BANGER_RAM"]);
}

#[test]
fn boot_files_of_the_users_own_are_looked_at_first() {
    let env = TestEnvironment::without_vm();
    fs::write(env.work().join("junk"), "not a disk").unwrap();
    for flag in ["--kernel", "--rootfs", "--initrd"] {
        let run = |file: &str| {
            let args = ["run", "--no-sync", flag, file, "--", "true"];
            env.banger(args).limit(AT_ONCE).run().code(240)
        };
        run("missing").says(&[&flag[2..], "missing"]);
        if flag != "--initrd" {
            run("junk").says(&[&flag[2..], "junk", "expected"]);
        }
    }
}

#[test]
fn a_package_list_is_read_before_anything_is_built() {
    let env = TestEnvironment::without_vm();
    let run = |list: &str| -> Outcome {
        let args = ["run", "--no-sync", "--packages", list, "--", "true"];
        env.banger(args).limit(AT_ONCE).run().code(240)
    };
    run("missing.apt").says(&["missing.apt"]);
    fs::create_dir(env.work().join("directory.apt")).unwrap();
    run("directory.apt").says(&["directory.apt"]);
    fs::write(env.work().join("bad.apt"), "curl # fine\nno such package!\n").unwrap();
    run("bad.apt").says(&["bad.apt", "line 2", "no such package!"]);
    fs::write(env.work().join("binary.apt"), [0xff, 0xfe, b'\n']).unwrap();
    run("binary.apt").says(&["binary.apt"]);
}

#[test]
fn an_unknown_package_is_named() {
    let Some(env) = TestEnvironment::with_empty_cache(1) else { return };
    if !env.can_build_images() {
        return;
    }
    fs::write(env.work().join("list.apt"), "curl\nno-such-package-at-all\n").unwrap();
    env.banger(["run", "--no-sync", "--packages", "list.apt", "--", "true"])
        .run()
        .code(245)
        .says(&["`no-such-package-at-all`", "list.apt"])
        .does_not_say("`curl`");
    env.banger(["gc"]).run().code(0);
    let images = env.banger(["image", "list", "--json"]).run().code(0).text();
    assert_eq!(images.trim(), "[]");
    env.assert_nothing_left();
}
