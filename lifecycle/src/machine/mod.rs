//! A VM from plan to teardown: the only module that runs every step.
//!
//! ```text
//! Plan ──prepare──► Prepared ──boot──► Booted ──connect──► Guest ──shutdown──► nothing left
//!   │                  ▲                                     └────keep──────► a named VM stays
//!   └─ cast, once ─► template
//! ```
//!
//! Each phase takes the one before by value, and each holds its resources as guards in fields
//! whose order is the order of teardown: a failure anywhere unwinds to nothing.

pub mod plan;
mod engine;
pub mod boot_files;
mod boot_set;
mod slots;
mod shape;
mod identity;
mod belongings;
mod cast;
mod furnish;
mod prepared;
mod booted;
mod afresh;
mod ready;
pub mod guest;
mod tail;
mod transfer;
mod workspace_mount;
mod archive;
mod odd_names;
mod stages;
mod inputs;
mod visit;
pub mod fleet;

pub use boot_files::BootFiles;
pub use booted::Booted;
pub use guest::{Guest, Shutdown};
pub use inputs::Inputs;
pub use plan::{Host, Plan, Start, WorkspacePlan};
pub use prepared::Prepared;
pub use visit::Visit;
pub use workspace_mount::SyncReport;
