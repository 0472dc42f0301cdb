//! `#[banger::test]` as its users meet it: cargo, in a crate that depends on `banger-test`.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use camino::Utf8PathBuf;
use fs_err as fs;
use rustix::process::Signal;

use crate::common::{
    BANGER, Program, Running, TestEnvironment, Verdict, eventually, has_nextest, libtest_verdicts,
    processes_of,
};

const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn every_option_is_seen_inside() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let args = ["test", "-p", "example-options", "--", "--show-output"];
    let outcome = env.cargo(args).limit(LIMIT).run().code(0);
    let text = outcome.text();
    assert!(text.contains("left out: this machine has no flux capacitor"), "{outcome}");
    assert_eq!(group_traces(&text), 2, "{outcome}");
    env.gone();
}

/// The two tests of the group say how many traces they found, and where: one after the other, in
/// one VM.
fn group_traces(text: &str) -> usize {
    let traces: Vec<_> = text.lines().filter_map(|line| line.split_once(" in ")).collect();
    let host = traces.iter().find(|(count, _)| *count == "1").unwrap().1;
    traces.iter().filter(|(count, name)| ["1", "2"].contains(count) && *name == host).count()
}

#[test]
fn tests_of_a_group_share_a_vm_under_nextest_too() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    if !has_nextest() {
        return;
    }
    let args = ["nextest", "run", "-p", "example-options", "--no-capture", "group::"];
    let outcome = env.cargo(args).limit(LIMIT).run().code(0);
    assert_eq!(group_traces(&outcome.text()), 2, "{outcome}");
    env.gone();
}

#[test]
fn a_lost_vm_is_seen_as_what_it_is() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let args = ["test", "-p", "example-options", "--test", "lost"];
    let outcome = env.cargo(args).limit(LIMIT).run().code(101);
    let text = outcome.text();
    for what in [
        "(SIGKILL) before the test ended; the guest ran out of memory: `ram` gives it more",
        "the guest's kernel panicked: sysrq triggered crash",
        "the guest switched itself off",
        "the guest gave up: its agent has ended",
    ] {
        assert!(text.contains(what), "no `{what}` in {outcome}");
    }
    let verdicts = libtest_verdicts(&outcome);
    assert_eq!(verdicts.values().filter(|v| **v == Verdict::Failed).count(), 5, "{outcome}");
    env.gone();
}

#[test]
fn the_harness_of_our_own_has_the_same_names_and_verdicts() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let args = ["test", "-p", "example-harness"];
    let list = env.cargo(args).args(["--", "--list", "--format", "terse"]).run().code(0);
    assert!(list.text().contains("module::passes: test\n"), "{list}");
    let outcome = env.cargo(args).limit(LIMIT).run().code(101);
    let expected = [
        ("fails", Verdict::Failed),
        ("is_forged", Verdict::Failed),
        ("is_ignored", Verdict::Ignored),
        ("module::passes", Verdict::Passed),
        ("passes", Verdict::Passed),
        ("should_panic", Verdict::Passed),
        ("skips_itself", Verdict::Ignored),
    ];
    let expected = expected.map(|(name, verdict)| (name.to_owned(), verdict)).into();
    assert_eq!(libtest_verdicts(&outcome), expected, "{outcome}");
    let text = outcome.text();
    assert!(text.contains("two and two") && !text.contains("a quiet test"), "{outcome}");
    env.gone();
}

/// What an editor's "run test" starts.
#[test]
fn one_test_by_its_exact_name_with_its_output() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let args = ["test", "--package", "example-verdicts", "--test", "guest"];
    let args = args.into_iter().chain(["--", "passes", "--exact", "--show-output"]);
    let outcome = env.cargo(args).limit(LIMIT).run().code(0);
    let text = outcome.text();
    assert!(text.contains("1 passed") && text.contains("to standard output"), "{outcome}");
    assert!(text.contains("to standard error"), "{outcome}");
}

#[test]
fn a_failing_tests_vm_can_be_kept() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let args = ["test", "-p", "example-verdicts", "--test", "guest", "--", "--exact", "fails"];
    let outcome = env.cargo(args).env("BANGER_KEEP_ON_FAILURE", "1").limit(LIMIT).run().code(101);
    let text = outcome.text();
    let name = text.split("banger: VM ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(text.contains(&format!("`cargo banger shell {name}` enters it")), "{outcome}");
    let inside = env.banger(["shell", name]).input("cat /etc/hostname\n").run().code(0);
    assert!(inside.text().contains(name), "{inside}");
    env.banger(["stop", name]).run().code(0);
    env.gone();
}

#[test]
fn without_a_cargo_banger_that_fits_one_message_says_so() {
    let env = TestEnvironment::without_vm();
    let fake = |name: &str, words: &str| {
        let path = env.work().join(name);
        fs::write(&path, format!("#!/bin/sh\n{words}\n")).unwrap();
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let old = fake("old", r#"echo '{"Hello":{"protocol":0,"version":"0.0.1"}}'; cat"#);
    let silly = fake("silly", "echo unknown command >&2; exit 2");
    for (program, words) in [
        (Utf8PathBuf::from("/no/such"), "cannot start `/no/such`"),
        (silly, "does not serve tests: it is too old, or not cargo-banger"),
        (old, "0.0.1 is older than this test's banger-test: it speaks protocol 0"),
    ] {
        let args = ["test", "-p", "example-verdicts", "--test", "guest"];
        let outcome = env.cargo(args).env("BANGER_BIN", &program).limit(LIMIT).run().code(101);
        assert_eq!(outcome.stderr.matches(words).count(), 1, "{outcome}");
        let failed = libtest_verdicts(&outcome).values().filter(|v| **v == Verdict::Failed).count();
        assert_eq!(failed, 22, "{outcome}");
        outcome.says(&["hint: "]);
    }
}

/// Marks of a guest that others than its kernel can make are none.
#[test]
fn no_body_runs_on_a_host_that_looks_like_a_guest() {
    let env = TestEnvironment::without_vm();
    let binary = env.test_binary("example-verdicts", "guest");
    // In a mount namespace of its own, where what stands in `/run/banger` of a guest can be planted.
    let namespace = ["--user", "--map-root-user", "--mount", "sh", "-c"];
    let plant = "mount -t tmpfs tmpfs /run && mkdir /run/banger && touch /run/banger/agent || exit 77; \
                 exec \"$0\" \"$@\"";
    let plain = || env.program(binary.as_str());
    let planted = || env.program("unshare").args(namespace).args([plant, binary.as_str()]);
    for program in [&plain as &dyn Fn() -> Program, &planted] {
        for told in [None, Some(""), Some("banger-0123456789abcdef"), Some("3 banger-01234567")] {
            let program = program().args(["--exact", "passes", "--nocapture"]);
            let program = program.env("BANGER_BIN", "/no/such");
            let program = match told {
                Some(told) => program.env("BANGER_TEST", told),
                None => program,
            };
            let outcome = program.limit(LIMIT).run();
            if matches!(outcome.status.code(), Some(1 | 77)) {
                eprintln!("SKIPPED: this host allows no mounts in a namespace: {outcome}");
                continue;
            }
            outcome.code(101).says(&["cannot start `/no/such`"]);
        }
    }
}

#[test]
fn a_setting_that_is_wrong_is_told_once() {
    let env = TestEnvironment::without_vm();
    let args = ["test", "-p", "example-verdicts", "--test", "guest"];
    let outcome = env.cargo(args).env("BANGER_BIN", BANGER).env("BANGER_VCPU", "99");
    let outcome = outcome.limit(LIMIT).run().code(101);
    assert_eq!(
        outcome.stderr.matches("`99` is not a valid number of vCPUs").count(),
        1,
        "{outcome}"
    );
}

#[test]
fn nothing_is_left_of_a_test_process_that_is_killed() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let waits = waits(&env, binary(&env));
    waits.signal(Signal::KILL);
    drop(waits.finish());
    env.gone();
}

#[test]
fn nothing_is_left_after_ctrl_c() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let args = ["test", "-p", "example-options", "--test", "lost", "--"];
    let waits = waits(&env, env.cargo(args));
    waits.signal_group(Signal::INT);
    drop(waits.finish());
    env.gone();
}

/// As who ends all processes of a job in order does.
#[test]
fn nothing_is_left_of_a_supervisor_that_is_told_to_end() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let waits = waits(&env, binary(&env));
    assert_eq!(waits.signal_children(Signal::TERM), 1);
    waits.finish().code(101);
    env.gone();
}

/// nextest kills the test's process group.
#[test]
fn nothing_is_left_of_a_test_that_nextest_kills() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    if !has_nextest() {
        return;
    }
    let config = env.work().join("nextest.toml");
    let limit = "slow-timeout = { period = \"15s\", terminate-after = 1, grace-period = \"0s\" }";
    fs::write(&config, format!("[profile.default]\n{limit}\n")).unwrap();
    let args = ["nextest", "run", "-p", "example-options", "--test", "lost", "--run-ignored=only"];
    let outcome = env.cargo(args).args(["--config-file", config.as_str(), "waits"]).run().code(100);
    outcome.says(&["TIMEOUT"]);
    env.gone();
}

fn binary(env: &TestEnvironment) -> Program {
    env.in_repository(env.test_binary("example-options", "lost").as_str(), [] as [&str; 0])
}

/// Starts a test that waits for ever, and waits until it does.
fn waits(env: &TestEnvironment, program: Program) -> Running {
    let args = ["waits", "--exact", "--ignored", "--nocapture"];
    let mut running = program.args(args).group().limit(LIMIT).start();
    running.wait_for_stdout("waiting");
    assert_eq!(env.run_directories().len(), 1);
    running
}

impl TestEnvironment {
    /// Fails unless all is gone soon, without any command of ours that clears up.
    pub(crate) fn gone(&self) {
        eventually(Duration::from_secs(20), "the VMs are gone", || {
            self.run_directories().is_empty() && processes_of(self.home()).is_empty()
        });
        self.assert_nothing_left();
    }
}
