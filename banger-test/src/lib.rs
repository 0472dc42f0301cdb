//! Tests that belong in a throwaway VM.
//!
//! ```
//! #[banger::test]
//! fn the_machine_is_ours() {
//!     std::fs::write("/etc/motd", "nobody will ever see this\n").unwrap();
//! }
//! ```
//!
//! `cargo banger run -- cargo test` runs such tests in a fresh VM; a plain `cargo test` on a
//! developer's machine leaves them out and says so.

use std::path::Path;
use std::process::{ExitCode, Termination};

pub use banger_macros::test;

/// Where a guest of banger keeps its boot files; nothing else makes this directory.
const MARK: &str = "/run/banger";

/// Whether this process runs in a guest of banger.
#[must_use]
pub fn in_vm() -> bool {
    Path::new(MARK).is_dir()
}

/// For the code that `#[banger::test]` generates; no part of the interface.
#[doc(hidden)]
pub mod __private {
    use super::{ExitCode, Termination, in_vm};

    /// What a generated test returns.
    #[derive(Debug)]
    pub struct Outcome(ExitCode);

    impl Termination for Outcome {
        fn report(self) -> ExitCode {
            self.0
        }
    }

    /// Runs a test's body in a guest; elsewhere says why not.
    pub fn run<T: Termination>(name: &str, body: fn() -> T) -> Outcome {
        if in_vm() {
            return Outcome(body().report());
        }
        eprintln!("{name}: left out: not in a VM (`cargo banger run -- cargo test` runs it)");
        Outcome(ExitCode::SUCCESS)
    }
}
