//! What the supervisor of a VM answers.

#![expect(clippy::question_mark, reason = "nanoserde's derive writes it so")]

use std::fmt;

use nanoserde::{DeJson, SerJson};

use crate::text::shown;
use crate::verdict::Verdict;

/// One answer.
#[derive(Clone, Debug, PartialEq, DeJson, SerJson)]
pub enum Reply {
    /// The first words, before any request.
    Hello {
        /// Its [`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION).
        protocol: u32,
        /// The version of `cargo-banger`.
        version: String,
    },
    /// Something that a person wants to know; comes at any time.
    Told {
        /// One line, or two where the second one says what mends it.
        text: String,
    },
    /// The VM is ready.
    Started {
        /// Its name.
        name: String,
    },
    /// The command wrote something.
    Output {
        /// Where to.
        stream: Stream,
        /// How many bytes follow.
        bytes: u64,
    },
    /// The command ended.
    Exited {
        /// Its exit status, 128+n if signal n killed it.
        status: u8,
        /// What else is known of why.
        note: Option<String>,
        /// The verdict that it told, where it was to and did.
        verdict: Option<Verdict>,
    },
    /// What was asked for is done.
    Done,
    /// What was asked for failed. The VM lives on, if it does.
    Failed(Failure),
}

/// A command's output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, DeJson, SerJson)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Why something failed; prints over several lines, as a person wants to read it, whatever a guest has
/// put into it.
#[derive(Clone, Debug, Default, PartialEq, Eq, DeJson, SerJson)]
#[nserde(default)]
pub struct Failure {
    /// The exit status that `cargo banger` would have.
    pub code: u8,
    /// What failed.
    pub message: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What mends it.
    pub hint: Option<String>,
    /// The last lines of the guest's console, where there is one.
    pub console: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.message))?;
        for cause in &self.causes {
            write!(f, "\n  caused by: {}", shown(cause).replace('\n', "\n    "))?;
        }
        if let Some(console) = &self.console {
            f.write_str("\nthe guest's console ended with:")?;
            for line in console.lines() {
                write!(f, "\n  | {}", shown(line))?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {}", shown(hint))?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_text_steers_no_terminal() {
        let evil = "\x1b]0;owned\x07\u{9b}2J".to_owned();
        let failure = Failure {
            code: 1,
            message: evil.clone(),
            causes: vec![format!("{evil}\nsecond line")],
            hint: Some(evil.clone()),
            console: Some(format!("first\r\n{evil}")),
        };
        let seen = r"\x1b]0;owned\x07\u{9b}2J";
        let expected = format!(
            "{seen}\n  caused by: {seen}\n    second line\nthe guest's console ended with:\n  | first\n  | {seen}\nhint: {seen}"
        );
        assert_eq!(failure.to_string(), expected);
    }
}
