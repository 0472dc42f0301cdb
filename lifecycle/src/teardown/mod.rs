//! Making sure that nothing stays: [`sweep()`] clears what dead runs left, [`remains`] looks for
//! what is there of one run.
//!
//! A live run tears itself down through the guards of `machine`; this module is for those that
//! were killed, and for checking the others.

pub mod remains;
pub mod sweep;

pub use sweep::{Leftover, leftovers, sweep};
