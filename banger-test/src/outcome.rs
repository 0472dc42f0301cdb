//! What a test returns.

use std::process::{ExitCode, Termination};

/// The exit status that a test's value makes.
#[derive(Clone, Copy, Debug)]
pub struct Outcome(ExitCode);

impl Outcome {
    pub(crate) fn new(code: ExitCode) -> Self {
        Self(code)
    }

    /// The exit status as a number: the type does not tell, but can be compared.
    pub(crate) fn status(self) -> u8 {
        (0..=u8::MAX).find(|status| ExitCode::from(*status) == self.0).unwrap_or(1)
    }
}

impl Termination for Outcome {
    fn report(self) -> ExitCode {
        self.0
    }
}

/// Has a test's value report itself, as the default harness would: an error is printed.
pub fn report<T: Termination>(value: T) -> Outcome {
    Outcome(value.report())
}
