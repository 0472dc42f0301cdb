//! Every ending, on the host: what the VMs are compared with.

use std::process::ExitCode;

use example_verdicts as bodies;

#[test]
fn passes() {
    bodies::passes();
}

#[test]
fn finds_fixtures() {
    bodies::finds_fixtures();
}

#[test]
fn writes_temporary_files() {
    bodies::writes_temporary_files();
}

#[test]
fn panics_elsewhere() {
    bodies::panics_elsewhere();
}

#[test]
fn returns_ok() -> Result<(), String> {
    bodies::returns_ok()
}

#[test]
fn returns_success() -> ExitCode {
    bodies::returns_a_code(0)
}

#[test]
fn fails() {
    bodies::fails();
}

#[test]
fn panics() {
    bodies::panics();
}

#[test]
fn panics_with_a_number() {
    bodies::panics_with_a_number();
}

#[test]
fn returns_an_error() -> Result<(), String> {
    bodies::returns_an_error()
}

#[test]
fn returns_a_failure() -> ExitCode {
    bodies::returns_a_code(3)
}

#[test]
#[should_panic]
fn should_panic() {
    bodies::panics();
}

#[test]
#[should_panic(expected = "number: 7")]
fn should_panic_with_a_text() {
    bodies::panics();
}

#[test]
#[should_panic(expected = "number: 8")]
fn should_panic_with_another_text() {
    bodies::panics();
}

#[test]
#[should_panic]
fn should_panic_and_does_not() {
    bodies::passes();
}

#[test]
#[should_panic]
fn should_panic_and_aborts() {
    bodies::aborts();
}

#[test]
#[ignore]
fn is_ignored() {
    bodies::fails();
}

#[test]
#[ignore = "it would fail"]
fn is_ignored_for_a_reason() {
    bodies::fails();
}

#[test]
fn takes_too_long() {
    bodies::takes_too_long();
}

#[test]
fn aborts() {
    bodies::aborts();
}

#[test]
fn exits() {
    bodies::exits();
}

#[test]
fn is_killed() {
    bodies::is_killed("KILL");
}

#[test]
fn async_passes() {
    block_on(bodies::yields());
}

#[test]
fn async_fails() {
    block_on(bodies::yields());
    bodies::fails();
}

/// Runs a future that never really waits.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
