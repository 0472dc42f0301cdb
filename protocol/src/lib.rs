//! Plain types that banger's crates speak to each other: what a VM should be ([`spec`]), what
//! happened to it ([`event`]), and what a test and the supervisor of its VM say to each other
//! ([`request`], [`reply`], over [`frame`]s), and how [`text`] of
//! others is shown and how much of it is kept ([`excerpt`]).
//!
//! Nothing here reads a file, the environment or the clock, and nothing here depends on another
//! crate of banger: the test side links this crate, so it must stay small.

pub mod environment;
pub mod event;
pub mod excerpt;
pub mod frame;
pub mod guest;
pub mod reply;
pub mod request;
pub mod status;
pub mod text;
pub mod verdict;
#[cfg(feature = "spec")]
pub mod spec;

/// Version of the wire format. Two sides that differ refuse to talk and say which is older.
pub const PROTOCOL_VERSION: u32 = 3;
