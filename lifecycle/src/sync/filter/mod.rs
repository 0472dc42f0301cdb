//! What stands between a guest's SFTP server and our client: every packet is checked before the
//! client sees it.
//!
//! ```text
//! client ── requests ──► Sending ─── noted ──► Ledger
//! client ◄── replies ─── Receiving ◄─ checked ─┘
//! ```
//!
//! The client takes a packet's own figures at their word: how long it is, how many names it holds,
//! how much data. The guest's root may put any program in the server's place, so here a reply has
//! to be one that an open request allows, of a bounded length, with all figures inside the packet.
//! What breaks a rule ends the session; what it was is kept as a [`ServerFault`].
//!
//! File content passes through without being looked at or copied.

mod ledger;
mod packet;
mod receiving;
mod sending;

pub(super) use ledger::Ledger;
pub(super) use receiving::Receiving;
pub(super) use sending::Sending;

/// The shortest and the longest packet in bytes, without its length field: a type and a number, and
/// what OpenSSH's server sends at most.
const SHORTEST: u32 = 5;
const LONGEST: u32 = 256 << 10;

/// The most names in one packet: OpenSSH's server sends a hundred.
const MOST_NAMES: u32 = 4096;

/// What a guest's SFTP server did that no honest one does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerFault {
    /// A packet too short to be one, or too long.
    #[error(
        "the guest's SFTP server answered with a packet of {length} bytes: expected {SHORTEST} to {LONGEST}"
    )]
    Length {
        /// The length that it gave.
        length: u32,
    },
    /// A packet of the wrong type.
    #[error("the guest's SFTP server answered with a packet of type {kind}: expected {expected}")]
    Type {
        /// The type that it gave.
        kind: u8,
        /// What the request allows.
        expected: &'static str,
    },
    /// An answer to nothing.
    #[error("the guest's SFTP server answered request {id}, which nobody made")]
    Unasked {
        /// The number that it gave.
        id: u32,
    },
    /// More content than was asked for.
    #[error("the guest's SFTP server sent {sent} bytes of a file where {asked} were asked for")]
    Data {
        /// How many it sent.
        sent: u32,
        /// How many there may be.
        asked: u32,
    },
    /// More names than fit.
    #[error("the guest's SFTP server announced {count} names in a packet of {length} bytes")]
    Names {
        /// How many it announced.
        count: u32,
        /// How long the packet is.
        length: usize,
    },
    /// Something that reaches past its packet's end.
    #[error("the guest's SFTP server sent {what} that does not fit its packet")]
    Malformed {
        /// What, with its article.
        what: &'static str,
    },
    /// Limits that leave no room for a request.
    #[error(
        "the guest's SFTP server takes packets of {packet} bytes, reads of {read} and writes of {write}: expected at least {least}"
    )]
    Limits {
        /// The longest packet that it takes.
        packet: u64,
        /// The most that it sends at once.
        read: u64,
        /// The most that it takes at once.
        write: u64,
        /// What is needed.
        least: u64,
    },
    /// No answer, and nothing of one.
    #[error("the guest's SFTP server sent nothing for {seconds} s")]
    Silent {
        /// For how long.
        seconds: u32,
    },
}

#[cfg(test)]
mod tests;
