//! `cargo banger test`: what `cargo test` runs, built on the host and run in VMs, several at a time.
//!
//! ```text
//! cargo test --no-run ─► cargo test, with `collect` as its runner ─► suites ─► a VM each ─► summary
//! ```
//!
//! Cargo decides what is run, where and with which variables; it is told that everything passed,
//! and then the suites run here. Doc tests are the exception: their programs are gone when rustdoc
//! ends, so each runs in a VM of its own right when cargo gets to it.

mod collect;
mod harness;
mod suite;
mod summary;

pub(crate) use collect::{collect, is_doc_test};

use futures_util::stream;
use futures_util::{StreamExt as _, TryStreamExt as _};

use self::collect::{Call, Collected};
use self::suite::Suite;
use self::summary::Summary;
use super::listing::{self, Kind, Listing};
use super::targets::{Targets, doc_tests};
use crate::cli::{Isolate, TestArgs};
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;
use crate::interrupt::Interrupts;
use crate::settings::Flags;

/// What `cargo test` exits with where a test failed.
const FAILED: u8 = 101;

pub(crate) async fn test(args: TestArgs, context: &Context) -> Result<u8, CommandError> {
    let mut interrupts = Interrupts::listen()?;
    let running = async {
        let collected = collect::from_cargo(&args, context).await?;
        let (collected, doc_tests) = match collected {
            Collected::Not(status) => return Ok(status),
            Collected::Suites(suites, doc_tests) => (suites, doc_tests),
        };
        let mut flags = args.vm.flags();
        flags.extend(args.limits.flags());
        let jobs = args.jobs().map_or_else(|| suite::jobs(&flags, context), Ok)?;
        let crew = Crew { flags, jobs };
        let suites = suites(collected, args.isolate, &crew, context).await?;
        let passed = run(&suites, args.isolate, &crew, doc_tests, context).await?;
        Ok(if passed { 0 } else { FAILED })
    };
    // Dropping what runs takes its VMs down.
    interrupts.end(running).await
}

/// What the VMs of a run have in common.
struct Crew {
    flags: Flags,
    /// How many run at a time.
    jobs: usize,
}

/// One suite for each executable, or for each test.
async fn suites(
    collected: Vec<Call>,
    isolate: Isolate,
    crew: &Crew,
    context: &Context,
) -> Result<Vec<Suite>, CommandError> {
    let suites = collected.into_iter().map(|call| async move {
        match isolate {
            Isolate::Binary => Ok(vec![Suite::whole(call, context)]),
            Isolate::Test => one_for_each_test(call, crew, context).await,
        }
    });
    let suites: Vec<Vec<_>> = stream::iter(suites).buffered(crew.jobs).try_collect().await?;
    Ok(suites.into_iter().flatten().collect())
}

/// One suite for each test of an executable; for all of it where it does not list them.
async fn one_for_each_test(
    call: Call,
    crew: &Crew,
    context: &Context,
) -> Result<Vec<Suite>, CommandError> {
    let there = Context { directory: call.directory.clone(), ..context.clone() };
    let asked = listing::Call {
        program: call.program.clone(),
        arguments: call.arguments.iter().map(Into::into).collect(),
        env: call.env.iter().map(|(name, value)| (name.clone(), value.into())).collect(),
    };
    let listing = listing::list(asked, false, &crew.flags, &there).await;
    let listing = listing.map_err(|error| match error.code {
        exit_code::USAGE.. => error,
        // It has run, and failed.
        _ => {
            let hint = "`--isolate binary` runs it as a whole";
            CommandError { code: exit_code::USAGE, ..error.hint(hint.to_owned()) }
        }
    })?;
    Ok(match listing {
        Listing::Whole => vec![Suite::whole(call, context)],
        Listing::Tests { tests, .. } => {
            let tests = tests.into_iter().filter(|entry| entry.kind == Kind::Test);
            tests.map(|test| Suite::one(&call, test.name, context)).collect()
        }
    })
}

/// Runs all suites; whether all passed, and what cargo has run itself.
async fn run(
    suites: &[Suite],
    isolate: Isolate,
    crew: &Crew,
    doc_tests: bool,
    context: &Context,
) -> Result<bool, CommandError> {
    if suites.is_empty() {
        return Ok(doc_tests);
    }
    let mut summary = Summary::new(suites.len(), isolate);
    let running = suites.iter().map(|suite| {
        let wish = suite.wish(&crew.flags);
        async move { (suite, suite.run(wish).await) }
    });
    let mut running = stream::iter(running).buffer_unordered(crew.jobs);
    while let Some((suite, outcome)) = running.next().await {
        context.reporter.clear();
        // What every suite would meet ends the run.
        if let Err(error) = &outcome
            && error.concerns_all()
        {
            return outcome.map(|_| false);
        }
        summary.add(suite, outcome);
    }
    Ok(summary.print(doc_tests))
}
