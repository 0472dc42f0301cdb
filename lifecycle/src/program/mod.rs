//! Host-built executables that are to run in a guest with another, often older, system.
//!
//! This module reads x86_64 ELF files, says whether a guest can run one as it is, and otherwise
//! finds the host's libraries that must travel with it and writes a copy that uses them. It runs
//! nothing and touches no guest: where the libraries and the copy are to appear is the caller's to
//! say, and so is what glibc the guest has.
//!
//! ```text
//! Elf::read ── runs_with(guest's glibc)? ── yes ──> the executable as it is
//!                         │ no
//!                         ├─ closure ──> Closure::copy_to   the libraries, for one guest directory
//!                         └─ adapt                          the copy that looks for them there
//! ```

mod adapt;
mod closure;
mod dynamic;
mod elf;
mod error;
mod needs;
mod patch;
mod search;
mod tables;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod version;

pub use adapt::adapt;
pub use closure::{Closure, Library, closure};
pub use elf::Elf;
pub use error::ProgramError;
pub use version::GlibcVersion;
