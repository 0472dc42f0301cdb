//! Whether cargo has doc tests run by a runner: older ones run them on this host, whatever they are
//! told.

use camino::Utf8Path;
use tokio::process::Command;

use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;

/// The first cargo that does: 1.89.
const FIRST: (u64, u64) = (1, 89);

/// Flags with which cargo tests something other than documentation.
const OTHER: &[&str] = &[
    "--lib",
    "--bin",
    "--bins",
    "--example",
    "--examples",
    "--test",
    "--tests",
    "--bench",
    "--benches",
    "--all-targets",
];

/// Fails where cargo, with these arguments, would run doc tests on this host.
pub(in crate::commands) async fn check(
    args: &[std::ffi::OsString],
    context: &Context,
) -> Result<(), CommandError> {
    let args = args.iter().map(|argument| argument.to_string_lossy());
    let args: Vec<_> = args.take_while(|argument| argument != "--").collect();
    if !are_wanted(&args) || go_through_runners(context).await? {
        return Ok(());
    }
    let message = format!(
        "doc tests would run on this host: only cargo {}.{} and later run them through others",
        FIRST.0, FIRST.1
    );
    let hint = "`--all-targets` tests all but the documentation".to_owned();
    Err(CommandError::usage(message).hint(hint))
}

/// Whether this cargo has runners run doc tests.
pub(in crate::commands) async fn go_through_runners(
    context: &Context,
) -> Result<bool, CommandError> {
    let version = version(&context.cargo, &context.directory).await?;
    Ok(version >= FIRST)
}

async fn version(cargo: &Utf8Path, directory: &Utf8Path) -> Result<(u64, u64), CommandError> {
    let mut command = Command::new(cargo);
    command.arg("--version").current_dir(directory).kill_on_drop(true);
    let output = command.output().await.map_err(|error| {
        CommandError::new("cannot run cargo", exit_code::HOST_NOT_READY).caused_by(&error)
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse(&text).ok_or_else(|| CommandError::usage("cargo does not say its version"))
}

/// Reads `cargo 1.95.0-nightly (…)`.
fn parse(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.strip_prefix("cargo ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn are_wanted(args: &[impl AsRef<str>]) -> bool {
    let is = |argument: &str, flag: &str| {
        argument.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let other = args.iter().any(|argument| OTHER.iter().any(|flag| is(argument.as_ref(), flag)));
    !other || args.iter().any(|argument| argument.as_ref() == "--doc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_cargos_are_known() {
        assert!(parse("cargo 1.95.0 (f2d3ce0bd 2026-03-21)\n").unwrap() >= FIRST);
        assert!(parse("cargo 1.89.0-nightly (x)\n").unwrap() >= FIRST);
        assert!(parse("cargo 1.88.0 (x)\n").unwrap() < FIRST);
        assert_eq!(parse("something"), None);
    }

    #[test]
    fn doc_tests_run_unless_something_else_is_asked_for() {
        let none: [&str; 0] = [];
        assert!(are_wanted(&none) && are_wanted(&["-p", "x"]) && are_wanted(&["--doc"]));
        assert!(!are_wanted(&["--lib"]) && !are_wanted(&["--test=x"]) && !are_wanted(&["--tests"]));
    }
}
