//! Immutable Debian guests: built once, stored by digest, shared by every VM.
//!
//! ```text
//! packages.apt ─ recipe ─ build ( mmdebstrap ─ tar ─┬─ kernel, initrd ─┬─ manifest ) ─ store
//!                                                   └─ filesystem ─────┘
//! ```
//!
//! An image is never written to after it was stored: VMs put overlays on it. It has no `/init` in
//! its initrd and no host keys, machine id or name: those are each VM's own.

// Reads `packages.apt`.
pub mod packages;
// What to build an image from.
pub mod recipe;
// The record beside an image.
pub mod manifest;
// Unpacks gzip, xz, zstd and legacy LZ4.
pub mod compression;
// bzImage to ELF.
pub mod kernel;
// Kernel modules in loading order.
pub mod modules;
// Writes cpio archives.
pub mod cpio;
// Files out of a tar.
pub mod tarball;
// The image's part of the initrd.
pub mod initrd;
// Builds an image from a recipe.
pub mod build;
// The stored image of each workspace.
mod refs;
// An image in use.
pub mod stored;
// Finds, builds, lists and removes images.
pub mod store;
// What can go wrong.
pub mod error;

pub use error::ImageError;
pub use kernel::{KernelError, elf_from_bzimage, read_kernel};
pub use manifest::{Digest, Manifest};
pub use packages::{Difference, Origin, PackageList};
pub use recipe::Recipe;
pub use store::{ImageStore, Staleness, Summary};
pub use stored::Image;
