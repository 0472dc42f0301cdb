//! An executable lists its tests in a VM.

use std::ffi::OsString;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{self, Poll};

use banger_lifecycle::exec::{GuestCommand, Streams};
use banger_lifecycle::machine::Guest;
use banger_protocol::status;
use camino::Utf8PathBuf;
use tokio::io::AsyncWrite;

use super::{Call, Listing, entries};
use crate::error::CommandError;

/// How much an executable may write as its list, and how much of its errors is kept, in bytes.
const MOST: usize = 16 << 20;
const MOST_ERRORS: usize = 64 << 10;

/// How many of its last lines are shown.
const SHOWN: usize = 20;

/// An executable that is asked in a directory of the guest.
pub(super) struct Asking {
    pub(super) call: Call,
    pub(super) directory: Option<Utf8PathBuf>,
}

impl Asking {
    /// The command: what `more` says comes first, as some arguments end those that are flags.
    pub(super) fn command(&self, more: &[&str]) -> GuestCommand {
        let Self { call, directory } = self;
        let more = more.iter().map(OsString::from);
        let argv = [OsString::from(&call.program)].into_iter().chain(more);
        let argv = argv.chain(call.arguments.iter().cloned()).collect();
        GuestCommand::new(argv).directory(directory.as_deref()).environment(call.env.clone())
    }
}

/// Asks for the tests, and where asked for those that are ignored.
pub(super) async fn list(
    asking: &Asking,
    ignored_too: bool,
    guest: &mut Guest,
) -> Result<Listing, CommandError> {
    let terse = &["--list", "--format", "terse"][..];
    let text = ask(asking, terse, guest).await?;
    let Some(tests) = entries::parse(&text) else { return Ok(Listing::Whole) };
    if tests.is_empty() && !entries::says_none(&ask(asking, &["--list"], guest).await?) {
        return Ok(Listing::Whole);
    }
    if !ignored_too || tests.is_empty() {
        return Ok(Listing::Tests { tests, ignored: Vec::new() });
    }
    let text = ask(asking, &["--list", "--format", "terse", "--ignored"], guest).await?;
    // One that knows the flag for one list and not for the next is none that lists.
    let listing = entries::parse(&text).map(|ignored| Listing::Tests { tests, ignored });
    Ok(listing.unwrap_or(Listing::Whole))
}

/// What it writes for these arguments, where it ends well.
async fn ask(asking: &Asking, more: &[&str], guest: &mut Guest) -> Result<Vec<u8>, CommandError> {
    let (out, errors) = (Bounded::head(MOST), Bounded::tail(MOST_ERRORS));
    let streams = Streams::to(out.clone(), errors.clone());
    let ended = guest.run(asking.command(more), streams, std::future::pending).await?;
    let (out, is_cut) = out.take();
    if is_cut {
        let what = format!("`{}` lists more than {} MiB", asking.call.program, MOST >> 20);
        return Err(CommandError::usage(what));
    }
    match ended {
        0 => Ok(out),
        ended => Err(failed(asking, ended, &out, &errors.take().0)),
    }
}

/// An executable that does not list: with its status, as if it had run here.
fn failed(asking: &Asking, ended: u8, out: &[u8], errors: &[u8]) -> CommandError {
    let what = format!(
        "`{}` does not list its tests: it {}",
        asking.call.program,
        status::describe(ended)
    );
    let mut error = CommandError::new(what, ended);
    let said = [out, errors].map(|text| shown(&String::from_utf8_lossy(text)));
    error.causes.extend(said.into_iter().filter(|text| !text.is_empty()));
    error
}

/// The last lines of what a guest wrote, with nothing in them that a terminal would obey.
fn shown(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    let lines = &lines[lines.len().saturating_sub(SHOWN)..];
    let text = |line: &str| -> String {
        line.chars()
            .take(500)
            .map(|c| match c {
                '\t' => "\t".to_owned(),
                c if c.is_control() => c.escape_default().to_string(),
                c => c.to_string(),
            })
            .collect()
    };
    lines.iter().map(|line| text(line)).collect::<Vec<_>>().join("\n")
}

/// A stream of a guest's of which only so much is kept: its head, or its tail.
#[derive(Clone)]
struct Bounded {
    kept: Arc<Mutex<(Vec<u8>, bool)>>,
    most: usize,
    is_tail: bool,
}

impl Bounded {
    fn head(most: usize) -> Self {
        Self { kept: Arc::default(), most, is_tail: false }
    }

    fn tail(most: usize) -> Self {
        Self { is_tail: true, ..Self::head(most) }
    }

    /// What is kept, and whether there was more.
    fn take(&self) -> (Vec<u8>, bool) {
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether more may follow.
    fn add(&self, bytes: &[u8]) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, is_cut) = &mut *kept;
        all.extend(bytes);
        if all.len() <= self.most {
            return true;
        }
        *is_cut = true;
        if self.is_tail {
            let surplus = all.len() - self.most;
            drop(all.drain(..surplus));
        } else {
            all.truncate(self.most);
        }
        self.is_tail
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // The guest learns of it as of a closed pipe.
        let more = self.add(bytes);
        Poll::Ready(if more { Ok(bytes.len()) } else { Err(io::ErrorKind::BrokenPipe.into()) })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_only_so_much_is_kept() {
        let (head, tail) = (Bounded::head(4), Bounded::tail(4));
        assert!(head.add(b"abcd") && tail.add(b"abcd"));
        assert!(!head.add(b"ef") && tail.add(b"ef"));
        assert_eq!(head.take(), (b"abcd".to_vec(), true));
        assert_eq!(tail.take(), (b"cdef".to_vec(), true));
        assert_eq!(Bounded::head(4).take(), (Vec::new(), false));
    }

    #[test]
    fn what_is_shown_of_it_moves_no_cursor() {
        assert_eq!(shown("a\x1b[2Jb\tc\r\nd\n\n"), "a\\u{1b}[2Jb\tc\nd");
        let many: String = (0..100).map(|line| format!("{line}\n")).collect();
        assert_eq!(shown(&many).lines().count(), SHOWN);
    }
}
