//! From how a test ended in its VM to what the harness around us is told.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use banger_protocol::text::shown;
use banger_protocol::verdict::Verdict;

use crate::case::Case;
use crate::inside::{self, Errand};
use crate::outcome::Outcome;
use crate::outside::{self, Ending};

/// Runs the test where it belongs: in this guest, or in a VM of its own.
///
/// # Panics
/// Where the test fails, with its message; without one of ours, since the test's has been printed.
pub fn run(case: &Case) -> Outcome {
    match ending(case) {
        Ending::Told(Verdict::Returned(status)) => Outcome::new(ExitCode::from(status)),
        Ending::Told(Verdict::Panicked(message)) => resume_unwind(Box::new(message)),
        Ending::Told(Verdict::Skipped(reason)) => {
            eprintln!("{}: left out: {}", case.name(), shown(&reason));
            Outcome::new(ExitCode::SUCCESS)
        }
        failed => {
            let text = explain(&failed);
            eprintln!("{text}");
            resume_unwind(Box::new(text))
        }
    }
}

/// The same for a test that is to panic. All that is no panic of the test's own returns, so that it
/// cannot be taken for one.
///
/// # Panics
/// Where the test does.
pub fn run_to_panic(case: &Case) {
    match ending(case) {
        Ending::Told(Verdict::Returned(_)) => {}
        Ending::Told(Verdict::Panicked(message)) => resume_unwind(Box::new(message)),
        failed => eprintln!("{}", explain(&failed)),
    }
}

fn ending(case: &Case) -> Ending {
    if let Some(errand) = Errand::take() {
        errand.run(case)
    }
    if crate::in_vm() {
        return Ending::Told(inside::judge(case));
    }
    outside::run(case)
}

/// What is said of a test that did not end by itself. Where every test of the run will meet the
/// same, it is told in full once, past the harness, and briefly in each test.
pub(crate) fn explain(ending: &Ending) -> String {
    match ending {
        Ending::Failed(error) if error.concerns_all() => {
            let text = error.to_string();
            if is_first(&text) {
                drop(writeln!(std::io::stderr(), "error: {text}"));
            }
            format!("no VM: {}", text.lines().next().unwrap_or_default())
        }
        other => format!("banger: {other}"),
    }
}

/// Whether nobody in this run has told this yet. A runner that gives each test a process of its own
/// gives the run a name, too.
#[expect(clippy::disallowed_methods, reason = "what fails here is not told, so no path is lost")]
fn is_first(text: &str) -> bool {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if !told.insert(text.to_owned()) {
        return false;
    }
    let (Ok(run), Ok(program)) = (std::env::var("NEXTEST_RUN_ID"), std::env::current_exe()) else {
        return true;
    };
    // Beside the program, where cargo keeps what it builds; each run takes the last one's place.
    let mark = program.with_file_name(".banger-told");
    if std::fs::read_to_string(&mark).is_ok_and(|told| told == run) {
        return false;
    }
    drop(std::fs::write(&mark, run));
    true
}
