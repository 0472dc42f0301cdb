//! A VM from plan to teardown: the only module that runs every step.
//!
//! ```text
//! Plan ──prepare──► Prepared ──boot──► Booted ──connect──► Guest ──shutdown──► nothing left
//!                                                            └────keep──────► a named VM stays
//! ```
//!
//! Each phase takes the one before by value, and each holds its resources as guards in fields
//! whose order is the order of teardown: a failure anywhere unwinds to nothing.

pub mod boot_files;
pub mod fleet;
pub mod guest;
pub mod plan;
mod odd_names;
mod prepared;
mod stages;
mod workspace_mount;

pub use boot_files::BootFiles;
pub use guest::{Guest, Shutdown};
pub use plan::{Plan, WorkspacePlan};
pub use prepared::{Booted, Prepared};
pub use workspace_mount::SyncReport;
