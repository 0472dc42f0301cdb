//! What a test asks of the `cargo-banger` that supervises its VM.
//!
//! ```text
//! ──Hello──► Start ──► Started ─┬─► Run ──► Output* ──► Exited ─┐
//!                        ▲      ├─► Push, Pull ──► Done         │
//!                        │      └─► Shutdown ──► Done           │
//!                        └───────────────◄──────────────────────┘
//! ```
//!
//! Each request is answered before the next one is read. Whatever fails answers
//! [`Failed`](crate::reply::Reply::Failed). When the asking side goes away, the VM does too.

#![expect(clippy::question_mark, reason = "nanoserde's derive writes it so")]

use std::collections::BTreeMap;

use nanoserde::{DeJson, SerJson};

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, DeJson, SerJson)]
pub enum Request {
    /// Starts the VM; once, before all else.
    Start(Start),
    /// Runs a command in it.
    Run(Run),
    /// Copies a file or directory of the host into the guest.
    Push {
        /// Where it is.
        host: String,
        /// Where it goes, and under which name. A directory that is there keeps what else is in it.
        guest: String,
    },
    /// Copies a file or directory of the guest to the host.
    Pull {
        /// Where it is.
        guest: String,
        /// Where it goes; into a directory that is there, under its own name.
        host: String,
    },
    /// Leaves the VM running after we have gone; it must have been started so that it may.
    Keep,
    /// Ends the VM and removes all that was its own.
    Shutdown,
}

/// A VM that is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, DeJson, SerJson)]
#[nserde(default)]
pub struct Start {
    /// Settings that win over all others, by the names that `cargo banger config` lists.
    pub settings: BTreeMap<String, String>,
    /// An executable of the host that is to stand at its own path in the guest, with the other
    /// programs of its package. The workspace comes along.
    pub program: Option<String>,
    /// Whether the host's Rust toolchain and the workspace's crates come along with it.
    pub toolchain: bool,
    /// The VM's name; a generated one where `None`.
    pub name: Option<String>,
    /// The name of a VM that several tests use, one after another.
    pub shared: Option<String>,
    /// Whether [`Request::Keep`] may follow.
    pub may_be_kept: bool,
}

/// A command to run in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, DeJson, SerJson)]
#[nserde(default)]
pub struct Run {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Where it starts; root's home where `None`.
    pub directory: Option<String>,
    /// Variables beside the guest's own.
    pub env: Vec<(String, String)>,
    /// Who runs it, made first where the guest has nobody of that name; root where `None`.
    pub user: Option<String>,
    /// How long it may take, in ms.
    pub timeout_ms: Option<u64>,
    /// How many bytes for its standard input follow the request.
    pub input: u64,
    /// Whether it is a test, which tells a [verdict](crate::verdict).
    pub tells_verdict: bool,
}
