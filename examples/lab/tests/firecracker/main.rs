//! Firecracker, dm snapshots, taps and NAT, on a host that has them: the lab. Two labs serve all
//! tests, side by side; in each, one test comes after another.

#![expect(clippy::unwrap_used, reason = "a test, all of it")]

mod both;
mod common;
mod jail;
mod killed;
mod lives;
mod network;
mod refusals;
mod rights;
mod udev;
