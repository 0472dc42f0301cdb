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

use futures_util::StreamExt as _;
use futures_util::stream;

use self::collect::Collected;
use self::suite::Suite;
use self::summary::Summary;
use super::targets::{Targets, doc_tests};
use crate::cli::{Isolate, TestArgs};
use crate::context::Context;
use crate::error::CommandError;
use crate::interrupt::Interrupts;

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
        let suites = suites(collected, args.isolate, context).await?;
        let passed = run(&suites, &args, doc_tests, context).await?;
        Ok(if passed { 0 } else { FAILED })
    };
    tokio::select! {
        done = running => done,
        // Dropping what runs takes its VMs down.
        _ = interrupts.next() => Err(CommandError::interrupted()),
    }
}

/// One suite for each executable, or for each test.
async fn suites(
    collected: Vec<collect::Call>,
    isolate: Isolate,
    context: &Context,
) -> Result<Vec<Suite>, CommandError> {
    let mut suites = Vec::new();
    for call in collected {
        match isolate {
            Isolate::Binary => suites.push(Suite::whole(call, context)),
            Isolate::Test => {
                let names = harness::list(&call).await?;
                suites.extend(names.into_iter().map(|name| Suite::one(&call, name, context)));
            }
        }
    }
    Ok(suites)
}

/// Runs all suites; whether all passed, and what cargo has run itself.
async fn run(
    suites: &[Suite],
    args: &TestArgs,
    doc_tests: bool,
    context: &Context,
) -> Result<bool, CommandError> {
    if suites.is_empty() {
        return Ok(doc_tests);
    }
    let mut flags = args.vm.flags();
    flags.extend(args.limits.flags());
    let jobs = args.jobs().map_or_else(|| suite::jobs(&flags, context), Ok)?;
    let mut summary = Summary::new(suites.len(), args.isolate);
    let running = suites.iter().map(|suite| {
        let wish = suite.wish(&flags);
        async move { (suite, suite.run(wish).await) }
    });
    let mut running = stream::iter(running).buffer_unordered(jobs);
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
