//! Settings: workspace metadata, then package metadata, then `BANGER_*`, then flags.
//!
//! [`keys`] declares each setting once, [`resolve()`] finds its value and where that came from,
//! [`effective`] turns the values into types that cannot be wrong.

pub(crate) mod effective;
pub(crate) mod keys;
pub(crate) mod list;
pub(crate) mod metadata;
pub(crate) mod reach;
pub(crate) mod resolve;

pub(crate) use effective::Effective;
pub(crate) use keys::variable;
pub(crate) use metadata::Metadata;
pub(crate) use resolve::{Flags, Resolved, resolve};
