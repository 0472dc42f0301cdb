//! Plain types that banger's crates speak to each other: what a VM should be ([`spec`]) and what
//! happened to it ([`event`]).
//!
//! Nothing here reads a file, the environment or the clock, and nothing here depends on another
//! crate of banger: the test side links this crate, so it must stay small.

pub mod event;
pub mod spec;

/// Version of the wire format. Two sides that differ refuse to talk and say which is older.
pub const PROTOCOL_VERSION: u32 = 1;
