//! Templates: booted guests, ready and frozen, that VMs start from as copy-on-write clones.
//!
//! ```text
//! templates/<key>/memory         the guest's memory, mapped privately by every clone
//!                /state          the devices' state
//!                /root.qcow2     the root disk as it was then, over the image's
//!                /overlay.qcow2  an empty top over that; each clone writes to a copy
//!                /initrd.cpio    what it was booted with, and `vmlinux` for a kernel of the user's
//!                /template.json  the record
//! ```
//!
//! A template's key covers all that decides what is in it; nothing of a single VM is, and nothing
//! of a workspace. Guest memory is private: the directory is its owner's alone. Making one takes a
//! booted guest, so that is `machine`'s work; who makes, uses and removes them is decided here.

mod key;
mod record;
mod store;

pub(crate) use key::TemplateKey;
pub use record::TemplateInfo;
pub(crate) use store::{INITRD, MEMORY, OVERLAY, ROOT, STATE, VMLINUX};
pub use store::{Template, TemplateError, TemplateStore};
