//! For which targets is built: each has our runner, or is refused before anything is built.

use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8PathBuf;
use fs_err as fs;

use crate::common::{BANGER, Outcome, Program, TestEnvironment, Workspace, has_nextest};

const GNU: &str = "x86_64-unknown-linux-gnu";
const MUSL: &str = "x86_64-unknown-linux-musl";
const FOREIGN: &str = "aarch64-unknown-linux-gnu";

fn refused(workspace: &Workspace, program: Program, target: &str) {
    let outcome = program.directory(workspace.root()).run().code(240);
    outcome.says(&[&format!("target `{target}` is unsupported"), "hint: "]);
    assert!(!workspace.root().join("target").exists());
}

#[test]
fn a_target_that_guests_cannot_run_is_refused_before_anything_is_built() {
    let env = TestEnvironment::without_vm();
    let workspace = Workspace::new(env.work(), "foreign");
    let mut commands = vec![["test"].as_slice()];
    if has_nextest() {
        commands.push(&["nextest", "run"]);
    }
    for command in commands {
        let banger = |more: &[&str]| env.banger(command).args(more);
        for target in [FOREIGN, "i686-unknown-linux-musl", "i686-unknown-linux-gnu"] {
            refused(&workspace, banger(&["--target", target]), target);
            refused(&workspace, banger(&["--target", GNU, &format!("--target={target}")]), target);
            refused(&workspace, banger(&[]).env("CARGO_BUILD_TARGET", target), target);
            let config = format!("build.target='{target}'");
            refused(&workspace, banger(&["--config", &config]), target);
            for value in [format!("'{target}'"), format!("['{MUSL}', '{target}']")] {
                workspace.write(".cargo/config.toml", format!("[build]\ntarget = {value}\n"));
                refused(&workspace, banger(&[]), target);
            }
            fs::remove_file(workspace.root().join(".cargo/config.toml")).unwrap();
        }
        let unknown = banger(&["--target", "no-such"]).directory(workspace.root()).run().code(240);
        unknown.says(&["rustc knows no target `no-such`"]);
    }
}

#[test]
fn a_runner_of_ones_own_does_not_win_silently() {
    let env = TestEnvironment::without_vm();
    let workspace = Workspace::new(env.work(), "own");
    let config = format!("target.{GNU}.runner='env'");
    for command in [["test", "--lib"], ["nextest", "list"]] {
        if command[0] == "nextest" && !has_nextest() {
            continue;
        }
        let banger = env.banger(command).args(["--config", &config]).directory(workspace.root());
        banger.run().code(240).says(&["sets a runner, which would run programs here"]);
    }
}

#[test]
fn nextests_wrapper_scripts_do_not_keep_tests_out_of_vms() {
    let env = TestEnvironment::without_vm();
    if !has_nextest() {
        return;
    }
    let workspace = Workspace::new(env.work(), "wrapped");
    let config = "experimental = ['wrapper-scripts']\n[scripts.wrapper.w]\ncommand = 'env'\n";
    let banger = || env.banger(["nextest", "run"]).directory(workspace.root());
    let hint = "target-runner = \"within-wrapper\"";
    workspace.write("own.toml", config);
    let elsewhere = banger().args(["--config-file", "own.toml"]).run().code(240);
    elsewhere.says(&["wrapper script `w` runs tests on this host", "own.toml", hint]);
    workspace.write(".config/nextest.toml", config);
    banger().run().code(240).says(&["wrapped/.config/nextest.toml", hint]);
}

/// With a cargo that says what it was given; the targets' libraries need not be there.
#[test]
fn whatever_cargo_builds_for_it_is_told_to_run_by_us() {
    let env = TestEnvironment::without_vm();
    let workspace = Workspace::new(env.work(), "several");
    workspace.write(
        ".cargo/config.toml",
        format!(
            "[build]\ntarget = ['{GNU}', '{MUSL}']\n[target.{GNU}]\nrunner = ['env', 'x']\n\
             [target.{MUSL}]\nrunner = 'env x'\n"
        ),
    );
    let (cargo, said) = (env.work().join("cargo"), env.work().join("said"));
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in\ntest | nextest) env >{said} ;;\n*) exec {} \"$@\" ;;\nesac\n",
        env!("CARGO")
    );
    fs::write(&cargo, script).unwrap();
    fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut commands = vec![(["test", "--lib"], "collect")];
    if has_nextest() {
        commands.push((["nextest", "run"], "runner"));
    }
    for (command, runner) in commands {
        let banger = env.banger(command).env("CARGO", &cargo).directory(workspace.root());
        banger.run().code(0);
        let said = fs::read_to_string(&said).unwrap();
        let targets = [
            GNU,
            MUSL,
            "i686-unknown-linux-gnu",
            "i686-unknown-linux-musl",
            FOREIGN,
            "riscv64gc-unknown-linux-gnu",
        ];
        for target in targets {
            let name = target.to_uppercase().replace('-', "_");
            let expected = format!("CARGO_TARGET_{name}_RUNNER={BANGER} banger {runner}");
            assert!(said.lines().any(|line| line.starts_with(&expected)), "{target}: {said}");
        }
    }
}

/// `init`, in a workspace.
fn init(env: &TestEnvironment, workspace: &Workspace) -> Program {
    let path = format!("{}:{}", own_directory(), std::env::var("PATH").unwrap());
    env.banger(["init"]).directory(workspace.root()).env("PATH", path)
}

fn own_directory() -> Utf8PathBuf {
    Utf8PathBuf::from(BANGER).parent().unwrap().to_owned()
}

/// What runs a target's programs, as cargo says from a directory of the workspace.
fn runner(env: &TestEnvironment, workspace: &Workspace, target: &str) -> Outcome {
    let key = format!("target.{target}.runner");
    let cargo = env.program(env!("CARGO")).args(["-Zunstable-options", "config", "get", &key]);
    cargo.env("RUSTC_BOOTSTRAP", "1").directory(workspace.root()).run()
}

#[test]
fn init_writes_the_configuration_that_is_in_force() {
    let env = TestEnvironment::without_vm();
    let workspace = Workspace::new(env.work(), "old-name");
    workspace.write(".cargo/config", format!("[build]\ntarget = '{MUSL}'\n"));
    workspace.write(".cargo/config.toml", "# never read\n");
    init(&env, &workspace).run().code(0).says(&["old-name/.cargo/config:"]);
    for target in [GNU, MUSL] {
        let runner = runner(&env, &workspace, target).code(0);
        assert!(runner.text().contains("cargo-banger"), "{runner}");
    }
    let unread = fs::read_to_string(workspace.root().join(".cargo/config.toml")).unwrap();
    assert_eq!(unread, "# never read\n");
    init(&env, &workspace).run().code(0).says(&["nothing to change"]);
}

#[test]
fn init_fails_where_something_else_wins() {
    let env = TestEnvironment::without_vm();
    let workspace = Workspace::new(env.work(), "outdone");
    let variable = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";
    let outdone = init(&env, &workspace).env(variable, "env").run().code(240);
    outdone.says(&["something else wins", variable]);

    workspace.configure("[workspace]\nmembers = [\"inner/member\"]");
    let member = "[package]\nname = \"member\"\nversion = \"0.1.0\"\n";
    workspace.write("inner/member/Cargo.toml", member);
    workspace.write("inner/member/src/lib.rs", "");
    init(&env, &workspace).run().code(0);
    let own = format!("[target.{GNU}]\nrunner = ['env']\n");
    workspace.write("inner/.cargo/config.toml", &own);
    let outdone = init(&env, &workspace).run().code(240);
    outdone.says(&["something else wins", "outdone/inner/.cargo/config.toml"]);
    fs::remove_file(workspace.root().join("inner/.cargo/config.toml")).unwrap();

    workspace.write(".cargo/config.toml", own);
    init(&env, &workspace).run().code(240).says(&["has a runner already", "`--force`"]);
    init(&env, &workspace).arg("--force").run().code(0);
}

#[test]
fn init_refuses_targets_that_guests_cannot_run() {
    let env = TestEnvironment::without_vm();
    let workspace = Workspace::new(env.work(), "foreign");
    let config = format!("[build]\ntarget = ['{GNU}', '{FOREIGN}']\n");
    workspace.write(".cargo/config.toml", &config);
    let outcome = init(&env, &workspace).run().code(240);
    outcome.says(&[&format!("target `{FOREIGN}` is unsupported")]);
    let after = fs::read_to_string(workspace.root().join(".cargo/config.toml")).unwrap();
    assert_eq!(after, config);
    init(&env, &workspace).args(["--target", FOREIGN]).run().code(240);
}

#[test]
fn init_says_where_cargo_would_not_find_us() {
    let env = TestEnvironment::without_vm();
    let workspace = Workspace::new(env.work(), "nowhere");
    let rustc = std::path::Path::new(env!("CARGO")).with_file_name("rustc");
    let init = env.banger(["init"]).env("PATH", "/nowhere").env("RUSTC", rustc);
    let init = init.env("CARGO", env!("CARGO")).directory(workspace.root()).run().code(0);
    init.says(&["`cargo-banger` is not on PATH", "hint: "]);
}
