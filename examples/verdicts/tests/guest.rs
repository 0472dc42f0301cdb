//! Every ending, each in a VM of its own.

use std::process::ExitCode;

use example_verdicts as bodies;

#[banger::test]
fn passes() {
    bodies::passes();
}

#[banger::test]
fn finds_fixtures() {
    bodies::finds_fixtures();
}

#[banger::test]
fn writes_temporary_files() {
    bodies::writes_temporary_files();
}

#[banger::test]
fn panics_elsewhere() {
    bodies::panics_elsewhere();
}

#[banger::test]
fn returns_ok() -> Result<(), String> {
    bodies::returns_ok()
}

#[banger::test]
fn returns_success() -> ExitCode {
    bodies::returns_a_code(0)
}

#[banger::test]
fn fails() {
    bodies::fails();
}

#[banger::test]
fn panics() {
    bodies::panics();
}

#[banger::test]
fn panics_with_a_number() {
    bodies::panics_with_a_number();
}

#[banger::test]
fn returns_an_error() -> Result<(), String> {
    bodies::returns_an_error()
}

#[banger::test]
fn returns_a_failure() -> ExitCode {
    bodies::returns_a_code(3)
}

#[banger::test]
#[should_panic]
fn should_panic() {
    bodies::panics();
}

#[banger::test]
#[should_panic(expected = "number: 7")]
fn should_panic_with_a_text() {
    bodies::panics();
}

#[banger::test]
#[should_panic(expected = "number: 8")]
fn should_panic_with_another_text() {
    bodies::panics();
}

#[banger::test]
#[should_panic]
fn should_panic_and_does_not() {
    bodies::passes();
}

#[banger::test]
#[should_panic]
fn should_panic_and_aborts() {
    bodies::aborts();
}

#[banger::test]
#[ignore]
fn is_ignored() {
    bodies::fails();
}

#[banger::test]
#[ignore = "it would fail"]
fn is_ignored_for_a_reason() {
    bodies::fails();
}

#[banger::test(timeout = "3s")]
fn takes_too_long() {
    bodies::takes_too_long();
}

#[banger::test]
fn aborts() {
    bodies::aborts();
}

#[banger::test]
fn exits() {
    bodies::exits();
}

#[banger::test]
fn is_killed() {
    bodies::is_killed("KILL");
}

#[banger::test]
async fn async_passes() {
    bodies::yields().await;
}

#[banger::test]
async fn async_fails() {
    bodies::yields().await;
    bodies::fails();
}
