//! Ctrl-C: the first goes to the command and then everything is torn down; the second leaves at
//! once.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::{TestEnvironment, Workspace, eventually};

/// How long a run may take that is ended: less than any limit on a guest that is silent.
const NO_HANG: Duration = Duration::from_secs(50);

/// Has a guest's server of files be one that only says on the console that it was started.
const SILENT_SERVER: &str = "printf '#!/bin/sh\necho serving >/dev/ttyS0\nexec /bin/sleep 600\n' \
                             >/usr/lib/openssh/sftp-server";

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

#[test]
fn a_signal_while_files_are_brought_back_ends_the_run_at_once() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    for signal in [Signal::INT, Signal::TERM] {
        let args = ["run", "--no-sync", "--out", "/etc/hostname:back", "--", "sh", "-c"];
        let run = env.banger(args).arg(SILENT_SERVER).limit(NO_HANG).start();
        eventually(NO_HANG, "files are asked for", || env.consoles().contains("serving"));
        run.signal(signal);
        run.finish().code(130).says(&["interrupted"]);
        env.assert_nothing_left();
    }
}

#[test]
fn a_time_limit_ends_bringing_files_back_too() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let args =
        ["run", "--no-sync", "--timeout", "2s", "--out", "/etc/hostname:back", "--", "sh", "-c"];
    let run = env.banger(args).arg(SILENT_SERVER).limit(NO_HANG).run();
    run.code(244).says(&["bringing files back did not end within 10s"]);
    env.assert_nothing_left();
}

#[test]
fn a_signal_while_the_guest_does_not_hold_still_ends_the_run_at_once() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "still");
    // The agent's process that would write out the workspace disk; another one runs commands.
    let script = "for process in /proc/[0-9]*; do \
                  if ls -l $process/fd 2>/dev/null | grep -q /vport.p1; then kill -STOP ${process#/proc/}; fi; done";
    let args = ["-v", "run", "--", "sh", "-c", script];
    let program = env.banger(args).env("BANGER_TOOLCHAIN", "false").directory(workspace.root());
    let mut run = program.limit(NO_HANG).start();
    run.wait_for_stderr("   command ");
    run.signal(Signal::TERM);
    run.finish().code(130).says(&["interrupted"]);
    env.assert_nothing_left();
}
