//! Where things live on disk and who owns them.
//!
//! [`layout`] names every path, [`lock`] is how processes agree, [`record`] is what a VM's owner
//! writes down before it acquires anything, [`run`] is one VM's directory, [`shelf`] holds what is
//! made once for all, [`notes`] what was found out once. [`private`] keeps other users out of all
//! of it.

pub mod layout;
pub mod lock;
pub mod notes;
pub mod record;
pub mod run;
pub(crate) mod content;
mod key;
pub(crate) mod leases;
pub(crate) mod private;
pub(crate) mod publish;
pub(crate) mod shelf;

pub(crate) use content::Sums;
pub(crate) use key::KeyHasher;
pub use layout::{BootId, Layout};
pub use lock::FileLock;
pub use notes::Notes;
pub use private::HomeError;
pub use record::{Record, RecordError};
pub use run::{RunDir, RunDirError};
pub(crate) use shelf::{Kind, Lease, Shelf};
