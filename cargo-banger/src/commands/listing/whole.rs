//! Executables that do not list their tests: nextest is told of one test that stands for all of one,
//! and when it then asks for that test, the executable is run as a whole.
//!
//! Which executables these are is noted by their content, as nextest's second call sees other
//! variables than the first, and maybe other files.

use std::ffi::OsString;

use banger_lifecycle::rundir::Notes;
use camino::Utf8Path;

use super::{Listing, stem};
use crate::context::Context;
use crate::error::CommandError;

/// Notes of an executable whether one test stands for it.
pub(super) fn note(
    program: &Utf8Path,
    listing: &Listing,
    context: &Context,
) -> Result<(), CommandError> {
    let notes = Notes::new(&context.layout);
    match listing {
        Listing::Whole => {
            let name = name(program, &notes)?;
            if notes.read(&name).is_none() {
                notes.write(&name, b"")?;
            }
        }
        // It has a test of that name, too: now it is asked for that one.
        Listing::Tests { tests, .. } if tests.iter().any(|test| test.name == stem(program)) => {
            notes.forget(&name(program, &notes)?)?;
        }
        Listing::Tests { .. } => {}
    }
    Ok(())
}

/// The arguments to run an executable with in place of these, where they ask for the test that stands
/// for all of it.
pub(crate) fn instead_of(
    program: &Utf8Path,
    arguments: &[OsString],
    context: &Context,
) -> Result<Option<Vec<OsString>>, CommandError> {
    let Some(rest) = without_selection(stem(program), arguments) else { return Ok(None) };
    let notes = Notes::new(&context.layout);
    let is_whole = notes.read(&name(program, &notes)?).is_some();
    Ok(is_whole.then_some(rest))
}

/// The arguments but for those that select exactly this test; `None` where they do not.
fn without_selection(test: &str, arguments: &[OsString]) -> Option<Vec<OsString>> {
    let selects = arguments.iter().any(|argument| argument == "--exact")
        && arguments.iter().any(|argument| argument == test);
    let about_tests = ["--exact", "--nocapture", "--no-capture", "--ignored", "--include-ignored"];
    let stays = |argument: &&OsString| {
        *argument != test && !about_tests.iter().any(|other| *argument == other)
    };
    selects.then(|| arguments.iter().filter(stays).cloned().collect())
}

fn name(program: &Utf8Path, notes: &Notes) -> Result<String, CommandError> {
    Ok(format!("whole-{}", notes.digest(program)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(arguments: &str) -> Option<Vec<OsString>> {
        let arguments: Vec<_> = arguments.split(' ').map(OsString::from).collect();
        without_selection("it", &arguments)
    }

    #[test]
    fn who_runs_a_whole_executable_is_not_told_of_tests() {
        assert_eq!(without("--exact it --nocapture").unwrap(), [] as [&str; 0]);
        assert_eq!(without("--exact it --nocapture --seed 3").unwrap(), ["--seed", "3"]);
        assert_eq!(without("--exact other --nocapture"), None);
        assert_eq!(without("it"), None);
    }
}
