//! Executables that were built on the host, run in VMs: `runner`, `test`, `nextest`, `init`.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use crate::common::{
    BANGER, Program, TestEnvironment, Workspace, has_nextest, libtest_verdicts, nextest_verdicts,
    skip,
};

const LIMIT: Duration = Duration::from_secs(300);

/// How long another image may take to be built.
const IMAGE_LIMIT: Duration = Duration::from_secs(900);

#[test]
fn tests_are_listed_as_on_the_host() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let binary = env.test_binary("example-verdicts", "host");
    let here = env.program(binary.as_str()).args(["--list", "--format", "terse"]).run().code(0);
    let args = ["runner", binary.as_str(), "--list", "--format", "terse"];
    let listed = env.banger(args).limit(LIMIT).run().code(0);
    assert_eq!(listed.text(), here.text());
    // The other half of what nextest asks came with it; people are told the same, from that.
    for more in [&["--list", "--format", "terse", "--ignored"][..], &["--list", "--ignored"]] {
        let here = env.program(binary.as_str()).args(more).run().code(0);
        let listed = env.banger(["runner", binary.as_str()]).args(more).run().code(0);
        assert_eq!(listed.text(), here.text());
        assert_eq!(listed.stderr, "");
    }
    env.assert_nothing_left();
}

#[test]
fn what_cannot_run_is_refused_before_anything_boots() {
    let env = TestEnvironment::without_vm();
    let foreign = env.work().join("foreign");
    fs::copy(BANGER, &foreign).unwrap();
    // The machine's number in the ELF header: 183 is aarch64.
    let file = fs::OpenOptions::new().write(true).open(&foreign).unwrap();
    file.file().write_all_at(&[183], 18).unwrap();
    let run = |program: &Utf8Path| env.banger(["runner", program.as_str()]).run().code(240);
    run(&foreign).says(&["is built for aarch64, not for x86_64", "hint: "]);
    let script = env.work().join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    run(&script).says(&["is not an ELF executable"]);
    run("/no/such".into()).says(&["cannot read `/no/such`"]);
}

#[test]
fn an_unmodified_crate_passes_in_vms() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let args = ["banger", "test", "--no-fail-fast", "-p", "example-unmodified"];
    let outcome = env.in_repository(BANGER, args).limit(LIMIT).run().code(0);
    let text = outcome.text();
    let in_vm: usize = passed(&text);
    assert!(text.contains("in a VM of its own"), "{outcome}");

    // On the host the tests that want root do nothing, and count all the same.
    let host = env.cargo(["test", "-p", "example-unmodified"]).limit(LIMIT).run().code(0);
    assert_eq!(in_vm, passed(&host.text()), "{outcome}\n{host}");
    let args = ["banger", "test", "--doc", "-p", "example-unmodified"];
    let doc = env.in_repository(BANGER, args).limit(LIMIT).run().code(0);
    assert_eq!(passed(&doc.text()), 1, "{doc}");
    env.assert_nothing_left();
}

#[test]
fn an_unmodified_crate_passes_under_nextest() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    if !has_nextest() {
        return;
    }
    let args = ["nextest", "run", "-p", "example-unmodified", "--status-level=all"];
    let host = env.cargo(args).limit(LIMIT).run().code(0);
    let args = ["banger"].into_iter().chain(args);
    let in_vms = env.in_repository(BANGER, args).limit(LIMIT).run().code(0);
    assert_eq!(nextest_verdicts(&in_vms), nextest_verdicts(&host), "{in_vms}");
    env.assert_nothing_left();
}

/// How many tests passed, over all harnesses.
fn passed(text: &str) -> usize {
    let counts = text.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    counts.map(|line| line.split(' ').next().unwrap().parse::<usize>().unwrap()).sum()
}

#[test]
fn examples_pass() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    for example in ["example-kernel", "example-lossy"] {
        env.cargo(["test", "-p", example]).limit(LIMIT).run().code(0);
    }
    env.assert_nothing_left();
}

/// Debian 11 has glibc 2.31; what is built here asks for a newer one, or else brings nothing along.
#[test]
fn a_program_brings_its_libraries_to_an_older_system() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    if !env.can_build_images() {
        return;
    }
    let binary = env.test_binary("example-verdicts", "host");
    let settings = ["--suite", "bullseye", "--mirror", "http://deb.debian.org/debian"];
    let run = |args: &[&str]| {
        let run = env.banger(["runner"]).args(settings).arg(&binary).args(args);
        let directory = crate::common::repository().join("examples/verdicts");
        run.directory(directory).env("RUST_BACKTRACE", "1").limit(IMAGE_LIMIT).run()
    };
    let passed = run(&["finds_fixtures", "returns_ok", "panics_elsewhere"]).code(0);
    assert!(passed.text().contains("3 passed"), "{passed}");
    let failed = run(&["--exact", "panics", "--nocapture"]).code(101);
    failed.says(&[
        "a boom with a number: 7",
        "examples/verdicts/src/lib.rs",
        "example_verdicts::panics",
    ]);
    let version = ["run", "--no-sync", "--", "cat", "/etc/debian_version"];
    let version = env.banger(version).env("BANGER_SUITE", "bullseye");
    let version = version.env("BANGER_MIRROR", settings[3]).limit(IMAGE_LIMIT).run().code(0);
    assert!(version.text().starts_with("11."), "{version}");
    env.assert_nothing_left();
}

/// The same program linked statically and against the host's libraries: neither needs the guest's.
#[test]
fn static_and_foreign_programs_run_as_they_are() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let source = env.work().join("hello.c");
    fs::write(&source, "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 7; }\n")
        .unwrap();
    for (name, flags) in [("static", &["-static"][..]), ("plain", &[])] {
        let program = env.work().join(name);
        let cc = env.program("cc").args(flags).arg(&source).args(["-o", program.as_str()]).run();
        if !cc.status.success() {
            skip(&format!("no C compiler for `{name}`: {}", cc.stderr));
            continue;
        }
        let outcome = env.banger(["runner", program.as_str()]).limit(LIMIT).run().code(7);
        assert_eq!(outcome.text(), "hello\n");
    }
    // Of a root disk that is not banger's own nothing is known: all libraries come along.
    let images = env.cache().join("images");
    let image =
        crate::common::entries(&images).into_iter().find(|p| p.join("rootfs.ext4").exists());
    let rootfs = image.unwrap().join("rootfs.ext4");
    let plain = env.work().join("plain");
    if plain.exists() {
        let args = ["runner", "--rootfs", rootfs.as_str(), plain.as_str()];
        assert_eq!(env.banger(args).limit(LIMIT).run().code(7).text(), "hello\n");
    }
}

#[test]
fn after_init_cargo_runs_tests_in_vms() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "initiated");
    workspace.write(".cargo/config.toml", "# mine\n[term]\nquiet = false\n");
    workspace.write(
        "src/lib.rs",
        "/// ```\n/// assert!(initiated::is_guest());\n/// ```\n\
         pub fn is_guest() -> bool {\n\
             std::fs::read_to_string(\"/proc/cmdline\").unwrap().contains(\" banger.guest=1\")\n\
         }\n\
         #[test]\nfn is_in_a_vm() { assert!(is_guest()); }\n",
    );
    let init = env.banger(["init", "--nextest"]).directory(workspace.root());
    init.run().code(0).says(&[".cargo/config.toml", ".config/nextest.toml"]);
    let config = fs::read_to_string(workspace.root().join(".cargo/config.toml")).unwrap();
    assert!(config.starts_with("# mine\n"), "{config}");
    let again = env.banger(["init"]).directory(workspace.root()).run().code(0);
    again.says(&["nothing to change"]);

    let cargo =
        |args: &[&str]| on_path(env.program("cargo")).args(args).directory(workspace.root());
    let outcome = cargo(&["test"]).limit(LIMIT).run().code(0);
    assert_eq!(passed(&outcome.text()), 2, "{outcome}");
    assert!(libtest_verdicts(&outcome).contains_key("is_in_a_vm"), "{outcome}");
    // The guest's cargo reads the same configuration.
    let args = ["run", "--", "cargo", "test", "--lib"];
    let inside = env.banger(args).directory(workspace.root()).limit(LIMIT).run().code(0);
    assert_eq!(passed(&inside.text()), 1, "{inside}");
    env.assert_nothing_left();
}

/// With the program under test where cargo finds it.
fn on_path(program: Program) -> Program {
    let path = std::env::var("PATH").unwrap();
    let directory = Utf8PathBuf::from(BANGER).parent().unwrap().to_owned();
    program.env("PATH", format!("{directory}:{path}"))
}

#[test]
fn nextest_that_is_not_installed_is_named_with_a_way_out() {
    let env = TestEnvironment::without_vm();
    let outcome = env.banger(["nextest", "run"]).env("PATH", "/nowhere").run().code(241);
    outcome.says(&["cargo-nextest is not installed", "cargo install --locked cargo-nextest"]);
}
