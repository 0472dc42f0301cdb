//! QEMU's `microvm` machine, with KVM or TCG.

mod args;
pub(crate) mod qmp;

pub(crate) use args::{BATCHES_FD, COMMANDS, COMMANDS_FD, CONSOLE_FD, NETWORK_FD, QMP_FD, args};

/// The program.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";
