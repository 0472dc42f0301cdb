//! What is printed of suites as they end, and of all of them at last.

use std::io::Write as _;
use std::time::Instant;

use anstyle::{AnsiColor, Style};
use banger_protocol::status;
use banger_protocol::text::plain;

use super::suite::{Outcome, Suite};
use crate::cli::Isolate;
use crate::error::CommandError;

const GREEN: Style = AnsiColor::Green.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// The run so far.
pub(super) struct Summary {
    total: usize,
    isolate: Isolate,
    since: Instant,
    failed: Vec<Failed>,
}

/// A suite that failed, and what is to be seen of it at the end.
struct Failed {
    name: String,
    text: String,
}

impl Summary {
    pub(super) fn new(total: usize, isolate: Isolate) -> Self {
        Self { total, isolate, since: Instant::now(), failed: Vec::new() }
    }

    /// Prints how a suite ended. What failed is kept for the end, so that it is seen last.
    pub(super) fn add(&mut self, suite: &Suite, outcome: Result<Outcome, CommandError>) {
        let (passed, text) = match outcome {
            Ok(outcome) => (outcome.status == 0, text(suite, &outcome)),
            Err(error) => (false, error.in_full()),
        };
        self.tell(suite, passed, &text);
        if !passed {
            self.failed.push(Failed { name: plain(&suite.name()).into_owned(), text });
        }
    }

    /// Prints what failed and the count; whether nothing did, doc tests included.
    pub(super) fn print(self, doc_tests: bool) -> bool {
        let Self { total, isolate, since, failed } = self;
        for Failed { name, text } in &failed {
            anstream::println!("\n---- {RED}{name}{RED:#} ----\n{text}");
        }
        let what = match isolate {
            Isolate::Binary => "test binaries",
            Isolate::Test => "tests",
        };
        let (passed, seconds) = (total - failed.len(), since.elapsed().as_secs_f64());
        let ok = failed.is_empty() && doc_tests;
        let (style, word) = if ok { (GREEN, "ok") } else { (RED, "FAILED") };
        anstream::println!(
            "\nbanger test: {style}{word}{style:#}. {passed} of {total} {what} passed, each in a VM of its own; {seconds:.2} s"
        );
        for Failed { name, .. } in &failed {
            anstream::println!("    {name}");
        }
        if !doc_tests {
            anstream::println!("    doc tests: see above");
        }
        ok
    }

    fn tell(&self, suite: &Suite, passed: bool, text: &str) {
        match self.isolate {
            Isolate::Binary => {
                let (name, program) = (suite.name(), suite.program().as_str());
                let (name, program) = (plain(&name), plain(program));
                tell!("     {GREEN}Running{GREEN:#} {name} ({program})");
                if passed {
                    anstream::println!("{text}");
                }
            }
            Isolate::Test => {
                let (style, word) = match (passed, is_ignored(text)) {
                    (false, _) => (RED, "FAILED"),
                    (true, true) => (Style::new(), "ignored"),
                    (true, false) => (GREEN, "ok"),
                };
                let name = suite.name();
                anstream::println!("test {} ... {style}{word}{style:#}", plain(&name));
            }
        }
        drop(std::io::stdout().flush());
    }
}

/// Whether one test was left out: the harness's last word says so, which no test comes after.
fn is_ignored(text: &str) -> bool {
    let result = text.lines().rev().find(|line| line.starts_with("test result: "));
    result.is_some_and(|line| line.contains(". 0 passed; 0 failed; 1 ignored; "))
}

/// What a suite wrote, and how it ended where that is not what its harness says.
fn text(suite: &Suite, outcome: &Outcome) -> String {
    let mut text = String::from_utf8_lossy(&outcome.output).trim_matches('\n').to_owned();
    if !matches!(outcome.status, 0 | super::FAILED) {
        text.push_str(&format!(
            "\n`{}` {}",
            plain(suite.program().as_str()),
            status::describe(outcome.status)
        ));
    }
    if let Some(name) = &outcome.kept {
        text.push('\n');
        text.push_str(&CommandError::kept(name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_prints_does_not_leave_it_out() {
        let ended = |passed, ignored| {
            format!(
                "test result: ok. {passed} passed; 0 failed; {ignored} ignored; 0 measured; 9 filtered out"
            )
        };
        let left_out = format!("test a ... ignored, a reason\n\n{}\n", ended(0, 1));
        assert!(is_ignored(&left_out));
        assert!(is_ignored(&left_out.replace("ok.", "\u{1b}[32mok\u{1b}[m.")));
        let printed =
            format!("test a ... ignored\n{}\ntest a ... ok\n{}", ended(0, 1), ended(1, 0));
        assert!(!is_ignored(&printed));
        assert!(!is_ignored(""));
    }
}
