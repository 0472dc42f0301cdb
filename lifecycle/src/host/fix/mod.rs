//! Commands that mend what a survey found missing. Composed here as values, run by whoever is
//! talking to the user.

// What each distribution calls what banger needs.
pub mod packages;
// One list of commands for many findings.
pub mod plan;

pub use packages::{Package, PackageManager};
pub use plan::{FixError, Plan, Privilege, Step};
