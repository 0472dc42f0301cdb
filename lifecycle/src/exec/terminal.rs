//! The terminal that a command has in the guest, as large as one here.

use std::ffi::OsString;

use tokio::sync::watch;

use super::channel::Speaker;
use super::frame::Said;

/// A terminal's size, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many lines it has.
    pub rows: u16,
    /// How long they are.
    pub columns: u16,
}

/// What a command's terminal is to be like.
#[derive(Clone, Debug)]
pub struct Terminal {
    /// What programs are to take it for (`TERM`), where that is known.
    pub kind: Option<OsString>,
    /// How large it is, now and later.
    pub size: watch::Receiver<Size>,
    /// Whether standard error is no part of it.
    pub errors_apart: bool,
}

impl Terminal {
    /// Tells of other sizes, for as long as there can be any.
    pub(super) async fn follow(mut self, speaker: &Speaker) {
        while self.size.changed().await.is_ok() {
            let size = *self.size.borrow_and_update();
            speaker.say(Said::Size(size)).await;
        }
    }
}
