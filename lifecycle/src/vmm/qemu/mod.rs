//! QEMU's `microvm` machine, with KVM or TCG.

pub(crate) mod args;
pub(crate) mod qmp;
pub(crate) mod running;

pub(crate) use args::Config;
pub(crate) use running::Qemu;

/// The program.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
