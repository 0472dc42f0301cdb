//! The lab: a VM that is what a host of Firecracker is. It has KVM, device-mapper, taps, nftables, a
//! real Firecracker, `cargo-banger` and cargo; VMs run in it.

mod built;
mod lab;

pub use built::test_binary;
pub use lab::Lab;
