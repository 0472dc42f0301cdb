//! What both directions of a session know of each other: the open requests, and what went wrong.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::ServerFault;
use super::packet::Expected;
use crate::sync::silence::{self, QUIET};

/// The state of one session, shared by its two directions and its owner.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    books: Mutex<Books>,
    /// Bytes that came from the server.
    received: AtomicU64,
}

/// What changes with each packet.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// The requests without an answer, by number.
    pub(super) open: HashMap<u32, Expected>,
    /// Whether the server has given its version.
    pub(super) greeted: bool,
    /// Whether a request is on its way in part.
    pub(super) sending: bool,
    pub(super) fault: Option<ServerFault>,
}

impl Ledger {
    /// What the server did wrong, if anything.
    pub(crate) fn fault(&self) -> Option<ServerFault> {
        self.books().fault.clone()
    }

    /// Resolves once the server owes an answer and has sent nothing for [`QUIET`] seconds.
    pub(crate) async fn silence(&self) -> ServerFault {
        let received = || {
            let books = self.books();
            let owes = !books.greeted || books.sending || !books.open.is_empty();
            owes.then(|| self.received.load(Ordering::Relaxed))
        };
        silence::of(received).await;
        let fault = ServerFault::Silent { seconds: QUIET };
        self.books().fault.get_or_insert(fault).clone()
    }

    pub(super) fn count(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
