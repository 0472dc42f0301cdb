//! Ctrl-C: the first goes to the command and then everything is torn down; the second leaves at
//! once.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::{TestEnvironment, eventually};

#[test]
fn the_first_interrupt_reaches_the_command() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "trap 'echo caught; exit 9' INT; echo up; while :; do sleep 1; done";
    let mut running = env.sh(script).start();
    running.wait_for_stdout("up\n");
    running.signal(Signal::INT);
    let outcome = running.finish().code(9);
    assert_eq!(outcome.text(), "up\ncaught\n");
    env.assert_nothing_left();
}

#[test]
fn an_interrupt_kills_a_command_that_does_not_mind_it() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    // Not a shell, which may have a child that has the signal and is no program yet.
    let script = "exec perl -e '$| = 1; print qq(up\\n); sleep 600'";
    let mut running = env.sh(script).start();
    running.wait_for_stdout("up\n");
    running.signal(Signal::INT);
    running.finish().code(130);
    env.assert_nothing_left();
}

#[test]
fn the_second_interrupt_leaves_at_once() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let mut running = env.sh("trap 'echo caught' INT; echo up; while :; do sleep 1; done").start();
    running.wait_for_stdout("up\n");
    running.signal(Signal::INT);
    running.wait_for_stdout("caught\n");
    running.signal(Signal::INT);
    running.finish().code(130).says(&["the next `cargo banger` command removes what remains"]);
    env.banger(["gc"]).run().code(0);
    env.assert_nothing_left();
}

#[test]
fn an_interrupt_while_booting_leaves_nothing() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let running = env.sh("echo never").start();
    eventually(Duration::from_secs(60), "a VM is booting", || {
        env.run_directories().iter().any(|dir| dir.join("vmm.log").exists())
    });
    running.signal(Signal::INT);
    let outcome = running.finish().code(130).says(&["interrupted"]);
    assert!(outcome.stdout.is_empty(), "{outcome}");
    env.assert_nothing_left();
}
