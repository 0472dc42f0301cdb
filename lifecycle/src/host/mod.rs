//! What this host can do, as plain values, and what mends it where it cannot.
//!
//! Each file looks at one thing and judges it; [`survey()`] asks them all. Nothing here changes the
//! host: [`fix`] only composes the commands, and whoever is talking to the user runs them. Only
//! [`kvm::probe`] is meant for the path of every run; the rest starts programs and takes a moment.

// One thing looked at, and what mends it.
pub mod finding;
// Whether KVM runs ordinary guests here.
pub mod kvm;
// Asking programs for their version, in bounded time.
pub mod version;
// The programs that banger drives.
pub mod tools;
// Cargo and the Rust toolchain.
pub mod rust;
// Disk space and device-mapper.
pub mod storage;
// Free memory.
pub mod memory;
// Name resolution and the right to make taps.
pub mod network;
// Who runs us, and the user and group ids they may hand out.
pub mod identity;
// Unprivileged user namespaces.
pub mod userns;
// Everything above, in order.
pub mod survey;
// Commands that mend what is missing.
pub mod fix;

/// Stand-ins for tests.
#[cfg(test)]
pub(crate) mod fake;

pub use finding::{Finding, Purpose, Remedy, State, main_job_possible};
pub use identity::Identity;
pub use kvm::{Kvm, KvmProblem};
pub use survey::{SurveyInput, survey};
