//! Templates: booted guests, ready and frozen, that VMs start from as copy-on-write clones.
//!
//! ```text
//! templates/<key>/memory         the guest's memory, mapped privately by every clone
//!                /state          the devices' state
//!                /root.qcow2     the root disk as it was then, over the image's
//!                /overlay.qcow2  an empty top over that; each clone writes to a copy
//!                /initrd.cpio    what it was booted with, and `vmlinux` for a kernel of the user's
//!                /template.json  the record
//! for Firecracker, in place of the qcow2 files,
//!                /root.cow       what was written to the root disk, as a dm snapshot keeps it
//!                /root.disk      or a copy of it
//! one made from another has also
//!                /base.qcow2     the other's root disk, under its own
//!                /work.qcow2     a workspace's sources as they were then, over their newest generation
//!                /work-overlay.qcow2  an empty top over that
//! templates/.uses-<key>          how often one that is not there was asked for, a byte each time
//! ```
//!
//! A template's key covers all that decides what is in it; nothing of a single VM is. Guest memory is private: the directory is its owner's alone. Making one takes a
//! booted guest, so that is `machine`'s work; who makes, uses and removes them is decided here.

mod key;
mod record;
mod store;

pub(crate) use key::TemplateKey;
pub(crate) use record::Content;
pub use record::TemplateInfo;
pub(crate) use store::{
    BASE, INITRD, MEMORY, OVERLAY, ROOT, ROOT_COW, ROOT_RAW, STATE, VMLINUX, WORK, WORK_OVERLAY,
};
pub use store::{Template, TemplateError, TemplateStore};
