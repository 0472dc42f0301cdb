//! Running one test in a guest for the process outside that asked for it.
//!
//! What the test writes goes out as it is, after a line of ours that carries a token which nobody can
//! guess, so that whatever the harness prints before is dropped outside. How it ended does not go that way,
//! where anybody could say anything, but by a [file](crate::verdict_file).

use std::any::Any;
use std::io::Write as _;
use std::mem::forget;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use banger_protocol::verdict::Verdict;

use crate::case::Case;
use crate::skip::Skip;
use crate::verdict_file::{VerdictFile, leave};

/// The variable that a guest's process finds which is to run one test for somebody outside: the number of
/// the verdict's file, a space, and the token. A child that inherits it does not have the file, without
/// which it says nothing. So it stays: where there are threads, no variable can safely be taken away.
pub(crate) const VARIABLE: &str = "BANGER_TEST";

/// The words after the token that begin a test's output.
pub(crate) const BEGIN: &str = " begin\n";

/// What somebody outside has asked this process for.
#[derive(Debug)]
pub(crate) struct Errand {
    token: String,
    file: VerdictFile,
}

impl Errand {
    /// The one that this process has, if it has one: asked before a test has run, and never again, since
    /// descriptors may be anybody's by then.
    pub(crate) fn take() -> Option<Self> {
        static ASKED: AtomicBool = AtomicBool::new(false);
        if ASKED.swap(true, Ordering::Relaxed) {
            return None;
        }
        let value = std::env::var(VARIABLE).ok()?;
        if !crate::in_vm() {
            return None;
        }
        let (descriptor, token) = value.split_once(' ')?;
        let descriptor: RawFd = descriptor.parse().ok().filter(|number| *number > 2)?;
        let file = VerdictFile::take(descriptor)?;
        Some(Self { token: token.to_owned(), file })
    }

    /// Runs the test, tells how it ended and ends this process, before the harness says anything.
    pub(crate) fn run(self, case: &Case) -> ! {
        let Self { token, file } = self;
        say(format!("{token}{BEGIN}").as_bytes());
        let verdict = judge(case);
        // A child that the test has forked and that got here is not the test, whatever it returns.
        if !file.is_ours() {
            leave(match verdict {
                Verdict::Returned(status) => status,
                Verdict::Panicked(_) => 101,
                Verdict::Skipped(_) => 0,
            });
        }
        file.tell(&verdict);
        std::process::exit(0);
    }
}

/// Runs the body in this process.
pub(crate) fn judge(case: &Case) -> Verdict {
    match catch_unwind(AssertUnwindSafe(|| __rust_begin_short_backtrace(case.body))) {
        Ok(outcome) => Verdict::Returned(outcome.status()),
        Err(payload) => match payload.downcast::<Skip>() {
            Ok(skip) => Verdict::Skipped(skip.0),
            Err(payload) => {
                let message = message(&*payload);
                // Dropping it may panic.
                forget(payload);
                Verdict::Panicked(message)
            }
        },
    }
}

/// Calls a function; backtraces end at this name, which the standard library knows.
#[inline(never)]
fn __rust_begin_short_backtrace<T>(body: fn() -> T) -> T {
    std::hint::black_box(body())
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic whose payload is no text".to_owned())
}

fn say(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    // Nobody outside reads any more: there is nobody to tell.
    drop(out.write_all(bytes).and_then(|()| out.flush()));
}
