//! Another checkout of this repository, to be measured beside this one in the same run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::banger::{Banger, checked};

/// What is added to a contender's name for that of the same thing before.
const MARK: &str = " (before)";

/// A checkout, its binary built with full optimisation, and state of its own.
#[derive(Debug)]
pub(crate) struct Before {
    checkout: PathBuf,
    binary: PathBuf,
    /// What its binary is measured with.
    pub(crate) banger: Banger,
}

impl Before {
    /// Builds what is to be measured.
    ///
    /// # Errors
    /// Where it does not build.
    pub(crate) fn build(checkout: &Path) -> Result<Self> {
        let checkout = std::path::absolute(checkout)?;
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--package", "cargo-banger"]).current_dir(&checkout);
        // A target directory that is set would have both checkouts write to the same place.
        checked(cargo.env_remove("CARGO_TARGET_DIR"))?;
        let binary = checkout.join("target/release/cargo-banger");
        Ok(Self { banger: Banger::new(&binary)?, checkout, binary })
    }

    /// Its program.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// Its own example of trivial tests, which speaks its program's protocol.
    pub(crate) fn trivial(&self) -> PathBuf {
        self.checkout.join("examples/trivial")
    }
}

/// What a contender is called that does the same as another, before.
pub(crate) fn named(name: &str) -> String {
    format!("{name}{MARK}")
}
