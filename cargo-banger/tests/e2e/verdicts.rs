//! The same tests by every way there is, in VMs and on the host: each has the same verdict.

use std::time::Duration;

use fs_err as fs;

use crate::common::{
    BANGER, Program, TestEnvironment, Verdict, Verdicts, assert_same, has_nextest,
    libtest_verdicts, nextest_verdicts,
};

const PACKAGE: &str = "example-verdicts";
const LIMIT: Duration = Duration::from_secs(300);

/// Ends what takes too long, as the attribute's `timeout` does.
const NEXTEST: &str = "[profile.default]\n\
                       slow-timeout = { period = \"10s\", terminate-after = 1, grace-period = \"1s\" }\n";

#[test]
fn the_attributes_verdicts_are_those_of_the_host() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let host = host_verdicts(&env);
    assert_eq!(host.len(), 24);
    let args = ["test", "-p", PACKAGE, "--test", "guest"];
    let outcome = env.cargo(args).limit(LIMIT).run().code(101);
    assert_same(&libtest_verdicts(&outcome), &host, &outcome);
    env.assert_nothing_left();
}

/// Which of them pass and which fail, their names say.
#[test]
fn nothing_but_the_test_itself_tells_its_verdict() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let args = ["test", "-p", PACKAGE, "--test", "forged"];
    let outcome = env.cargo(args).limit(LIMIT).run().code(101);
    let expected: Verdicts = libtest_verdicts(&outcome)
        .into_keys()
        .map(|name| match name.split("::").next() {
            Some("passes") => (name, Verdict::Passed),
            _ => (name, Verdict::Failed),
        })
        .collect();
    assert_eq!(expected.len(), 26, "{outcome}");
    assert_same(&libtest_verdicts(&outcome), &expected, &outcome);
    env.gone();
}

#[test]
fn nextest_runs_the_attributes_tests() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    if !has_nextest() {
        return;
    }
    let host = host_verdicts(&env);
    let args = ["nextest", "run", "-p", PACKAGE, "--test", "guest"];
    let outcome = nextest(&env, env.cargo(args)).run().code(100);
    assert_same(&nextest_verdicts(&outcome), &host, &outcome);
    env.assert_nothing_left();
}

#[test]
fn nextest_runs_plain_tests_in_vms() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    if !has_nextest() {
        return;
    }
    let host = host_verdicts(&env);
    let args = ["banger", "nextest", "run", "-p", PACKAGE, "--test", "host"];
    let outcome = nextest(&env, env.in_repository(BANGER, args)).run().code(100);
    assert_same(&nextest_verdicts(&outcome), &host, &outcome);
    env.assert_nothing_left();
}

#[test]
fn each_plain_test_in_a_vm_of_its_own() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let host = host_verdicts(&env);
    let args =
        ["banger", "test", "--isolate", "test", "--timeout", "4s", "-p", PACKAGE, "--test", "host"];
    let outcome = env.in_repository(BANGER, args).limit(LIMIT).run().code(101);
    assert_same(&libtest_verdicts(&outcome), &host, &outcome);
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    for what in ["SIGABRT", "did not end within 4s", "arithmetic is what it was"] {
        assert!(text.contains(what), "{outcome}");
    }
    env.assert_nothing_left();
}

/// Each test in a process of its own, since some take the others with them.
fn host_verdicts(env: &TestEnvironment) -> Verdicts {
    let binary = env.test_binary(PACKAGE, "host");
    let list = env.program(binary.as_str()).args(["--list", "--format=terse"]).run().code(0);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let directory = crate::common::repository().join("examples/verdicts");
    let verdict = |name: &str| {
        if name == "takes_too_long" {
            return Verdict::Failed;
        }
        let run = env.program(binary.as_str()).args(["--exact", name]).directory(&directory).run();
        match libtest_verdicts(&run).get(name) {
            Some(verdict) => *verdict,
            None => Verdict::Failed,
        }
    };
    names.map(|name| (name.to_owned(), verdict(name))).collect()
}

fn nextest(env: &TestEnvironment, program: Program) -> Program {
    // What is made once takes longer than any test may.
    let passes = ["banger", "test", "-p", PACKAGE, "--test", "host", "--", "--exact", "passes"];
    env.in_repository(BANGER, passes).limit(LIMIT).run().code(0);
    let config = env.work().join("nextest.toml");
    fs::write(&config, NEXTEST).unwrap();
    let args = ["--no-fail-fast", "--status-level", "all", "--final-status-level", "none"];
    program.args(args).args(["--config-file", config.as_str()]).limit(LIMIT)
}
