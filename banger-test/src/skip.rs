//! Leaving a test that finds it cannot run here.

/// What unwinds out of a test that skips itself.
pub(crate) struct Skip(pub(crate) String);

/// Ends the test that calls this without failing it, and says why: a kernel feature or a device is
/// not there, say.
///
/// Under `banger::main!` the test counts as ignored; under the default harness, which knows
/// no such thing, it passes and its output says that it was left out.
///
/// # Panics
/// Unwinds always, without a panic message; only to be used in a [`test`](crate::test).
pub fn skip(reason: impl Into<String>) -> ! {
    std::panic::resume_unwind(Box::new(Skip(reason.into())))
}
