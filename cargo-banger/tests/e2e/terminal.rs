//! On a terminal, which `script` of util-linux provides.

use camino::Utf8Path;
use rustix::process::Signal;

use crate::common::{BANGER, Program, TestEnvironment, skip};

#[test]
fn a_command_gets_the_terminal_its_size_and_its_ctrl_c() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "ip link set eth0 down; stty size; test -t 0 && test -t 1 && test -t 2 && exit 6";
    let command =
        format!("stty cols 97 rows 31; {BANGER} banger run --no-sync -- sh -c '{script}'");
    let Some(terminal) = on_terminal(&env, &command) else { return };
    let outcome = terminal.run().code(6);
    assert!(outcome.text().contains("31 97"), "{outcome}");
    env.assert_nothing_left();
}

#[test]
fn a_shell_reads_the_terminal_and_ends_with_its_own_status() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let command = format!("stty cols 97 rows 31; {BANGER} banger shell --no-sync");
    let Some(terminal) = on_terminal(&env, &command) else { return };
    let mut running = terminal.interactive().start();
    running.wait_for_stdout("# ");
    // What says so is what the key is meant for: the shell itself might not mind it yet.
    running.write("stty size; sh -c 'echo sleep$((40 + 2)); exec sleep 600'; echo on\n");
    running.wait_for_stdout("sleep42");
    // The key ends the list of commands and not the shell.
    running.write("\x03");
    running.write("echo back$((40 + 2))\n");
    running.wait_for_stdout("back42");
    running.write("exit 4\n");
    let outcome = running.finish().code(4);
    assert!(outcome.text().contains("31 97"), "{outcome}");
    env.assert_nothing_left();
}

#[test]
fn a_command_that_minds_nothing_can_be_left() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = r#"trap "" INT HUP TERM; echo up$((40 + 2)); sleep 600"#;
    let command = format!(
        "{BANGER} banger run --no-sync -- sh -c '{script}'; echo status $?; stty -a; exit 5"
    );
    let Some(terminal) = on_terminal(&env, &command) else { return };
    let mut running = terminal.interactive().start();
    running.wait_for_stdout("up42");
    running.write("\x03\x1d\x1d\x1d");
    let outcome = running.finish().code(5);
    // The terminal is as it was.
    for told in ["left the guest", "status 130", " icanon", " echo "] {
        assert!(outcome.text().contains(told), "{told}: {outcome}");
    }
    env.assert_nothing_left();
}

#[test]
fn a_job_in_the_background_goes_on_without_the_terminal() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let job = format!("{BANGER} banger run --no-sync -- sh -c \"cat; test -t 1 || exit 3\"");
    let command = format!("bash -mc '{job} & wait $!'");
    let Some(terminal) = on_terminal(&env, &command) else { return };
    terminal.interactive().start().finish().code(3);
    env.assert_nothing_left();
}

#[test]
fn what_is_typed_before_the_start_reaches_the_command() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let command = format!("echo typed; read -r _; exec {BANGER} banger run --no-sync -- cat");
    let Some(terminal) = on_terminal(&env, &command) else { return };
    let mut running = terminal.interactive().start();
    running.wait_for_stdout("typed");
    // The last key ends the input of whoever reads then.
    running.write("\nahead\n\x04");
    let outcome = running.finish().code(0);
    // The terminals may show it, too.
    assert!(outcome.text().matches("ahead").count() >= 2, "{outcome}");
    env.assert_nothing_left();
}

#[test]
fn a_shell_that_minds_no_signal_ends_all_the_same() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let mut running = env.sh("trap '' TERM; echo up; sleep 600").start();
    running.wait_for_stdout("up\n");
    running.signal(Signal::TERM);
    running.finish().code(130).says(&["interrupted"]);
    env.assert_nothing_left();
}

#[test]
fn a_terminal_is_lent_to_one_and_given_back() {
    let Some(env) = TestEnvironment::sharing_images(2) else { return };
    let run = format!("{BANGER} banger run --no-sync --");
    let command = format!("bash -c 'exec 3<&0; {run} sleep 1 <&3 & {run} sleep 1; wait; stty -a'");
    let Some(terminal) = on_terminal(&env, &command) else { return };
    let outcome = terminal.interactive().start().finish().code(0);
    assert!(outcome.text().contains(" icanon"), "{outcome}");
    env.assert_nothing_left();
}

/// A command line whose standard streams are a terminal.
fn on_terminal(env: &TestEnvironment, command: &str) -> Option<Program> {
    if !Utf8Path::new("/usr/bin/script").exists() {
        skip("there is no `script`, which gives a program a terminal");
        return None;
    }
    Some(env.program("/usr/bin/script").args(["-qec", command, "/dev/null"]))
}
