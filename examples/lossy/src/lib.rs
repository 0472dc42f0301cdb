//! Lines appended to a log over UDP: each exactly once and in order, on networks that lose, delay,
//! double and reorder packets.
//!
//! One line is under way at a time. The [`Client`] numbers it and sends it again until it is
//! answered; the [`Server`] writes down the first copy it gets and answers all of them.

mod client;
mod server;
mod wire;

pub use client::Client;
pub use server::Server;
