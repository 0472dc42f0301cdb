//! Bodies of tests that end in every way there is.

use std::process::{Command, ExitCode};
use std::time::Duration;

/// Passes, and prints on both streams.
pub fn passes() {
    println!("to standard output");
    eprintln!("to standard error");
}

/// Finds a file of its package where it was compiled, and in the current directory.
pub fn finds_fixtures() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let text = fs(manifest);
    assert_eq!(text, fs("Cargo.toml"));
    assert!(text.contains("example-verdicts"));
}

#[expect(clippy::disallowed_methods, reason = "an example without dependencies")]
fn fs(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Uses a temporary directory, which is gone with the machine.
pub fn writes_temporary_files() {
    let name = format!("example-verdicts-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).expect("nothing is there, and there is room");
    std::fs::remove_dir(&path).expect("it has been made");
}

/// Fails an assertion.
pub fn fails() {
    assert_eq!(1 + 1, 3, "arithmetic is what it was");
}

/// Panics with a formatted message.
pub fn panics() {
    let what = "boom";
    panic!("a {what} with a number: {}", 7);
}

/// Panics with something that is no text.
pub fn panics_with_a_number() {
    std::panic::panic_any(7_u8);
}

/// Panics in a thread that nobody waits for in earnest.
pub fn panics_elsewhere() {
    let thread = std::thread::spawn(|| panic!("in a thread"));
    assert!(thread.join().is_err());
}

/// Returns without an error.
///
/// # Errors
/// Never.
pub fn returns_ok() -> Result<(), String> {
    Ok(())
}

/// Returns an error.
///
/// # Errors
/// Always.
pub fn returns_an_error() -> Result<(), String> {
    Err("it did not work".to_owned())
}

/// Returns an exit code.
#[must_use]
pub fn returns_a_code(code: u8) -> ExitCode {
    ExitCode::from(code)
}

/// Takes longer than anybody waits.
pub fn takes_too_long() {
    std::thread::sleep(Duration::from_secs(3600));
}

/// Ends the process by SIGABRT.
pub fn aborts() {
    std::process::abort();
}

/// Ends the process with status 3.
#[expect(clippy::exit, reason = "this is what is shown")]
pub fn exits() {
    std::process::exit(3);
}

/// Has the process killed.
pub fn is_killed(signal: &str) {
    let process = std::process::id().to_string();
    let killed = Command::new("sh").args(["-c", &format!("kill -{signal} {process}")]).status();
    assert!(killed.is_ok());
    takes_too_long();
}

/// Yields once, and ends.
pub async fn yields() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
