//! Running one test in a guest for the process outside that asked for it.
//!
//! What the test writes goes out as it is; two lines of ours around it carry a token that nobody
//! can guess, so that whatever the harness prints before is dropped outside and the verdict found.

use std::any::Any;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use banger_protocol::verdict::Verdict;
use nanoserde::SerJson as _;

use crate::case::Case;
use crate::skip::Skip;

/// The variable whose value is the token; set in a guest that runs one test for somebody outside.
pub(crate) const VARIABLE: &str = "BANGER_TEST";

/// The words after the token that begin a test's output.
pub(crate) const BEGIN: &str = " begin\n";
/// The words after the token that end it; the verdict follows, as JSON, and a line end.
pub(crate) const END: &str = " end ";

/// The token, if this process runs one test for somebody outside.
pub(crate) fn token() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// Runs the test, tells how it ended and ends this process, before the harness says anything.
#[expect(clippy::exit, reason = "the verdict is told; the harness would add its own words")]
pub(crate) fn run(case: &Case, token: &str) -> ! {
    say(format!("{token}{BEGIN}").as_bytes());
    let verdict = judge(case);
    let json = verdict.serialize_json();
    say(format!("{token}{END}{json}\n").as_bytes());
    std::process::exit(0);
}

/// Runs the body in this process.
pub(crate) fn judge(case: &Case) -> Verdict {
    match catch_unwind(AssertUnwindSafe(|| __rust_begin_short_backtrace(case.body))) {
        Ok(outcome) => Verdict::Returned(outcome.status()),
        Err(payload) => match payload.downcast::<Skip>() {
            Ok(skip) => Verdict::Skipped(skip.0),
            Err(payload) => Verdict::Panicked(message(&*payload)),
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
