//! Read-only drives shared by many VMs: the host's toolchain, the vendored crates of a lock file, and
//! executables built on the host.
//!
//! A layer is an erofs image under its content key, made once by whoever first needs it and never
//! written again. This module makes, finds, lists and removes layers; attaching one to a VM and
//! mounting it at [`Layer::mount_point`] is the machine's work.
//!
//! ```text
//! layers/.lock-<kind>-<key>      held while a layer is built or removed
//! layers/.tmp-<kind>-<key>/      what is being built; swept by the next holder of that lock
//! layers/<kind>-<key>/           layer.erofs, layer.json, and `lock`, shared by its users
//! ```

mod dependencies;
mod erofs;
mod error;
mod lockfile;
mod programs;
mod progress;
mod record;
mod source_config;
mod store;
#[cfg(test)]
mod testing;
mod toolchain;

pub use dependencies::{CARGO_CONFIG, VENDOR_MOUNT};
pub use error::LayerError;
pub use programs::Programs;
pub(crate) use programs::place;
pub use record::{LayerId, LayerInfo, LayerKind};
pub use store::{Layer, LayerStore};
pub use toolchain::{default_sysroot, find_sysroot, sysroot_of};
