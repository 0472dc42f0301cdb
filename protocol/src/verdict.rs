//! How a test ended, as the process in the guest tells the one outside.

use nanoserde::{DeJson, SerJson};

/// How a test's body ended.
#[derive(Clone, Debug, PartialEq, Eq, DeJson, SerJson)]
pub enum Verdict {
    /// It returned something that makes this exit status.
    Returned(u8),
    /// It panicked; the message has been printed.
    Panicked(String),
    /// It found that it cannot run here.
    Skipped(String),
}
