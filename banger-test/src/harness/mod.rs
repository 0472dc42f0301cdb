//! The harness of test targets that have none of their own: `banger::main!`.
//!
//! What libtest-mimic does not do is done here: output is held back unless a test fails or
//! `--nocapture` is given, and VMs are started ahead.

mod pool;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use banger_protocol::reply::Stream;
use banger_protocol::text;
use banger_protocol::verdict::Verdict;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use self::pool::Pool;
use crate::case::Case;
use crate::inside::{self, Errand};
use crate::output::Held;
use crate::outside::{Ending, Lane};
use crate::verdict::explain;

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    if let Some(errand) = Errand::take() {
        return in_guest(errand);
    }
    let arguments = Arguments::from_args();
    let pool = Arc::new(Pool::of(selected(&arguments)));
    let shown = arguments.nocapture || crate::in_vm();
    let trials = Case::all().map(|case| {
        let pool = Arc::clone(&pool);
        let run = move || run(case, &pool, shown);
        Trial::ignorable_test(case.name(), run).with_ignored_flag(case.ignore.is_some())
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    pool.drain();
    conclusion.exit_code()
}

/// Runs the one test that we were started for.
fn in_guest(errand: Errand) -> ExitCode {
    let exact = std::env::args().skip_while(|argument| argument != "--exact").nth(1);
    match exact.and_then(|name| Case::all().find(|case| case.name() == name)) {
        // On a thread of its name, which panic messages begin with.
        Some(case) => thread::scope(|scope| {
            let thread = thread::Builder::new().name(case.name().to_owned());
            let running = thread.spawn_scoped(scope, || errand.run(case));
            running.map_or(ExitCode::FAILURE, |thread| thread.join().unwrap_or(ExitCode::FAILURE))
        }),
        // That nothing has begun says enough.
        None => ExitCode::SUCCESS,
    }
}

/// Runs one test, on the thread that the harness has for it.
fn run(case: &'static Case, pool: &Pool, shown: bool) -> Result<Completion, Failed> {
    let (mut held, mut rest) = (String::new(), Held::default());
    let ending = if crate::in_vm() {
        Ending::Told(inside::judge(case))
    } else {
        let mut print = |stream, text: &str| match stream {
            Stream::Stdout if shown => print!("{text}"),
            Stream::Stderr if shown => eprint!("{text}"),
            _ => held.push_str(rest.admit(text)),
        };
        pool.lane(case).map_or_else(Ending::Failed, |lane| Lane::finish(lane, case, &mut print))
    };
    if let Ending::Told(Verdict::Skipped(reason)) = &ending {
        return Ok(Completion::ignored_with(text::shown(reason)));
    }
    if ending.passes(case) {
        return Ok(Completion::Completed);
    }
    let why = match (&ending, case.should_panic) {
        (Ending::Told(Verdict::Panicked(message)), Some(expected)) => {
            format!("the panic `{}` does not contain `{expected}`", text::shown(message))
        }
        // The message is in what the test printed.
        (Ending::Told(Verdict::Panicked(_)), None) => String::new(),
        (Ending::Told(Verdict::Returned(_)), Some(_)) => "the test did not panic".to_owned(),
        (other, _) => explain(other),
    };
    Err(Failed::from(format!("{held}{}{why}", rest.end())))
}

/// The tests that the command line selects, for which VMs are worth starting ahead.
fn selected(arguments: &Arguments) -> Vec<&'static Case> {
    let matches = |name: &str, filter: &String| match arguments.exact {
        true => name == filter,
        false => name.contains(filter.as_str()),
    };
    let runs = |case: &&Case| {
        let (name, ignored) = (case.name(), case.ignore.is_some());
        !arguments.list
            && arguments.filter.as_ref().is_none_or(|filter| matches(name, filter))
            && !arguments.skip.iter().any(|skip| matches(name, skip))
            && (arguments.include_ignored || ignored == arguments.ignored)
    };
    Case::all().filter(runs).collect()
}
