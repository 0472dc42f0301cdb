//! A stranger's directory is looked at in a VM, and decides nothing on the host.

use std::os::unix::fs::symlink;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::fs::{CWD, Mode, mkfifoat};

use crate::common::{BANGER, Program, TestEnvironment, Workspace, entries};

/// What must not reach a guest.
const SECRET: &str = "hidden-value";

/// Where every program of the directory leaves a file, if any runs.
fn marks(env: &TestEnvironment) -> Utf8PathBuf {
    env.work().join("marks")
}

/// A repository in which everything that can decide something does.
fn hostile(env: &TestEnvironment, name: &str) -> Workspace {
    fs::create_dir_all(marks(env)).unwrap();
    let theirs = Workspace::new(env.work(), name);
    let root = theirs.root();
    let program = |path: &str| {
        let mark = marks(env).join(path.replace('/', "-"));
        theirs.write(path, format!("#!/bin/sh\ntouch {mark}\nexit 1\n"));
        theirs.chmod(path, 0o755);
        root.join(path)
    };
    let [rustc, wrapper, runner, fsmonitor, firecracker, credentials] =
        ["rustc", "wrapper", "runner", "fsmonitor", "firecracker", "credentials"]
            .map(|name| program(&format!("evil/{name}")));
    for tool in ["cargo", "rustc", "cargo-banger", "mke2fs", "qemu-img", "qemu-system-x86_64"] {
        program(&format!("evil/toolchain/bin/{tool}"));
        program(tool);
    }
    fs::create_dir_all(root.join("evil/toolchain/lib/rustlib")).unwrap();
    theirs.write(
        "src/bin/evil.rs",
        format!("fn main() {{ std::fs::write({:?}, []); }}", marks(env).join("alias")),
    );
    theirs.write(
        "build.rs",
        format!("fn main() {{ std::fs::write({:?}, []); }}", marks(env).join("build")),
    );
    theirs.write(
        ".cargo/config.toml",
        format!(
            "[alias]\nbanger = 'run --bin evil --'\n[build]\nrustc = '{rustc}'\nrustc-wrapper = '{wrapper}'\n\
             [target.x86_64-unknown-linux-gnu]\nrunner = '{runner}'\nlinker = '{rustc}'\n\
             [registry]\nglobal-credential-providers = ['{credentials}']\n\
             [env]\nBANGER_ENV = {{ value = 'SECRET', force = true }}\n"
        ),
    );
    theirs.write("rust-toolchain.toml", format!("[toolchain]\npath = '{root}/evil/toolchain'\n"));
    theirs.write(".git/HEAD", "ref: refs/heads/main\n");
    theirs.write(".git/config", format!("[core]\n\tfsmonitor = {fsmonitor}\n"));
    theirs.write("packages.apt", "no-such-package-at-all\n");
    theirs.configure(&format!(
        "[package.metadata.banger]\nmirror = 'http://127.0.0.1:1'\nsuite = 'none'\nkernel = 'missing'\n\
         rootfs = 'missing'\ninitrd = 'missing'\nfirecracker = '{firecracker}'\nenv = ['SECRET']\n\
         net = 'user'\nno-such-key = 1\n[workspace.metadata.banger]\npackages = 'packages.apt'\n"
    ));
    symlink("/dev/zero", root.join("Cargo.lock")).unwrap();
    symlink("/dev/zero", root.join(".bangerignore")).unwrap();
    mkfifoat(CWD, root.join(".gitignore").as_str(), Mode::RWXU).unwrap();
    symlink(env.work(), root.join("way-out")).unwrap();
    theirs
}

/// With a secret in every way that one comes along.
fn with_secrets(program: Program) -> Program {
    let names = ["SECRET", "RUST_LOG", "RUSTFLAGS", "COLORTERM", "CI"];
    let program = names.iter().fold(program, |program, name| program.env(name, SECRET));
    program.env("BANGER_ENV", "SECRET").env("BANGER_NET", "user")
}

fn assert_nothing_ran(env: &TestEnvironment) {
    assert_eq!(entries(&marks(env)), [] as [&str; 0], "ran on the host");
}

#[test]
fn a_strangers_repository_decides_nothing_here() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let theirs = hostile(&env, "theirs");
    let script = "env; pwd; cat packages.apt; ls -d evil/toolchain way-out; \
                  echo built >src/built; cargo --version";
    // Through cargo, from outside.
    let path = std::env::var("PATH").unwrap();
    let ours = Utf8Path::new(BANGER).parent().unwrap();
    let args = ["banger", "run", "--untrusted", "--dir", "theirs", "--env", "GIVEN=typed"];
    let program = env.program("cargo").args(args).args(["--", "sh", "-c", script]);
    let outcome = with_secrets(program.env("PATH", format!("{ours}:{path}"))).run().code(0);
    let text = outcome.text();
    for part in ["GIVEN=typed", theirs.root().as_str(), "no-such-package", "way-out", "cargo 1."] {
        assert!(text.contains(part), "{part}\n{outcome}");
    }
    assert!(!text.contains(SECRET), "{outcome}");
    // As cargo is told where there is no network.
    assert!(text.contains("CARGO_NET_OFFLINE=true"), "{outcome}");
    outcome.says(&["not obeyed", ".bangerignore"]).does_not_say("error");

    // By itself, inside of it, on a host without cargo.
    let script = "env; test ! -e src/built; command -v cargo || echo none";
    let args = ["run", "--untrusted", "--", "sh", "-c", script];
    let program = env.program(BANGER).args(args).directory(theirs.root());
    let program = with_secrets(program.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:."));
    let outcome = program.run().code(0);
    assert!(outcome.text().ends_with("none\n") && !outcome.text().contains(SECRET), "{outcome}");
    assert_nothing_ran(&env);
    env.assert_nothing_left();
}

#[test]
fn trusted_and_untrusted_runs_have_nothing_built_in_common() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "both");
    let run = |flags: &[&str], script: &str| {
        let program = env.program(BANGER).arg("run").args(flags).args(["--dir", "both", "--"]);
        let program = program.args(["sh", "-c", script]).env("BANGER_TOOLCHAIN", "false");
        program.run().code(0).text()
    };
    let leave = |name: &str| format!("mkdir -p target; touch target/{name}; ls target; pwd");
    let at = |names: &str| format!("{names}\n{}\n", workspace.root());
    assert_eq!(run(&[], &leave("trusted")), at("trusted"));
    assert_eq!(run(&["--untrusted"], &leave("first")), at("first"));
    assert_eq!(run(&["--untrusted"], &leave("second")), at("second"));
    assert_eq!(run(&[], &leave("later")), at("later\ntrusted"));

    // Nothing of it need be a project.
    fs::remove_file(workspace.root().join("Cargo.toml")).unwrap();
    mkfifoat(CWD, workspace.root().join("Cargo.toml").as_str(), Mode::RWXU).unwrap();
    assert_eq!(run(&["--untrusted"], "ls src; pwd"), at("lib.rs"));
    env.assert_nothing_left();
}

#[test]
fn what_would_make_an_untrusted_run_unsafe_is_refused_with_the_way_to_do_it() {
    let env = TestEnvironment::without_vm();
    let theirs = hostile(&env, "theirs");
    let run = |flags: &[&str], variables: &[(&str, &str)]| {
        let program = env.program(BANGER).args(["run", "--untrusted"]).args(flags);
        let program = with_secrets(program.args(["--", "true"]));
        let set = |program: Program, (name, value): &(&str, &str)| program.env(name, value);
        let program = variables.iter().fold(program, set).limit(Duration::from_secs(10));
        program.run().code(240)
    };
    let dir = ["--dir", "theirs"];
    run(&[&dir[..], &["--env", "SECRET"]].concat(), &[]).says(&["`SECRET`", "--env SECRET=VALUE"]);
    run(&[&dir[..], &["--out", "x:theirs/way-out/x"]].concat(), &[]).says(&["theirs/way-out/x"]);
    run(&["--dir", "missing"], &[]).says(&["missing"]);
    run(&["--dir", "theirs/packages.apt"], &[]).says(&["packages.apt"]);
    run(&["--dir", "/"], &[]).says(&["`/`"]);
    let path = format!("/usr/bin:{}/evil", theirs.root());
    run(&dir, &[("PATH", &path)]).says(&["PATH leads into", "theirs/evil"]);
    // As cargo calls it, which has read what is there.
    let program = env.banger(["run", "--untrusted", "--", "true"]).env("CARGO", "/no/cargo");
    let program = program.directory(theirs.root().join("src"));
    let told = ["cargo was started inside", "cargo-banger run --untrusted --dir"];
    program.limit(Duration::from_secs(10)).run().code(240).says(&told);
    assert_nothing_ran(&env);
}

#[test]
fn what_a_trusted_manifest_decides_beyond_the_guest_is_told() {
    let env = TestEnvironment::without_vm();
    let workspace = Workspace::new(env.work(), "reaching");
    workspace.configure(
        "[package.metadata.banger]\nnet = 'user'\nkernel = 'missing'\nenv = ['SECRET', 'A=1']",
    );
    let run = |args: &[&str]| env.banger(args).directory(workspace.root()).run().code(240);
    run(&["-v", "run", "--", "true"]).says(&[
        "reaching/Cargo.toml decides beyond the guest",
        "net = user",
        "kernel = missing",
        "env = SECRET",
    ]);
    run(&["run", "--", "true"]).does_not_say("beyond the guest");
}

#[test]
fn a_manifest_that_would_hang_a_trusted_run_is_refused_by_name() {
    let env = TestEnvironment::without_vm();
    let workspace = Workspace::new(env.work(), "waiting");
    let manifest = workspace.root().join("Cargo.toml");
    fs::remove_file(&manifest).unwrap();
    mkfifoat(CWD, manifest.as_str(), Mode::RWXU).unwrap();
    let run = env.banger(["run", "--", "true"]).directory(workspace.root());
    run.limit(Duration::from_secs(10)).run().code(240).says(&["waiting/Cargo.toml", "a FIFO"]);
}
