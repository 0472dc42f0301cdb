//! What a test costs in a VM of its own: many trivial ones, several at a time, beside as many runs
//! of the raw script that restores, beside the same tests in one VM, and on the host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::Result;
use crate::banger::{Banger, Run, checked, timed};
use crate::before::{Before, named};
use crate::contest::{self, Contender};
use crate::options::Options;
use crate::raw::Raw;
use crate::report::{Table, ratio};

const RAW: &str = "raw script that restores, for each";
const EACH: &str = "#[banger::test], a VM for each";
const SHARED: &str = "#[banger::test(shared)], one VM";
const HOST: &str = "#[test], on the host";

/// How many tests the example has.
const COUNT: u32 = 40;

/// Measures all four, and the first of ours also as it was before.
pub(crate) fn table(banger: &Banger, before: Option<&Before>, options: &Options) -> Result<Table> {
    let (count, at_once) = (COUNT, std::thread::available_parallelism()?.get());
    // As many virtual CPUs as the VM of a single test has.
    let raw = Raw::restore(banger, "1")?;
    let [each, shared, host] = build(&package())?;
    let run_with = |program: &Path, banger: &Banger, binary: &Path| {
        let mut command = Command::new(program);
        command.arg(format!("--test-threads={at_once}")).current_dir(package());
        command.env("BANGER_HOME", banger.home()).env("BANGER_BIN", binary);
        command.env_remove("RUST_BACKTRACE");
        Ok(per_test(timed(&mut command)?.1, count))
    };
    let run = |program: &Path| run_with(program, banger, &options.binary);
    // Templates and layers are made once.
    run(&each)?;
    let mut contenders = vec![
        Contender::new(RAW, || Ok(per_test(all(&raw, count, at_once)?, count))),
        Contender::new(EACH, || run(&each)),
        Contender::new(SHARED, || run(&shared)),
        Contender::new(HOST, || run(&host)),
    ];
    let each_before = named(EACH);
    if let Some(before) = before {
        let [each, ..] = build(&before.trivial())?;
        let run = move || run_with(&each, &before.banger, before.binary());
        run()?;
        contenders.push(Contender::new(&each_before, run));
    }
    let lines = contest::hold(contenders, options.runs);
    let notes = [(EACH, RAW), (EACH, SHARED), (SHARED, HOST), (EACH, &each_before)]
        .iter()
        .filter_map(|(one, other)| ratio(&lines, one, other))
        .collect();
    let title = format!(
        "a trivial test among {count}, {at_once} at a time: the whole run over their number"
    );
    Ok(Table { title, lines, notes })
}

/// Runs the script so often, so many at a time.
fn all(raw: &Raw, count: u32, at_once: usize) -> Result<Run> {
    let left = AtomicU32::new(count);
    let work = || {
        let mut busy = 0.0;
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        {
            // What it says of the processors is of all children, so it does not count here.
            busy = raw.measure().map_err(|error| error.to_string())?.busy;
        }
        Ok::<f64, String>(busy)
    };
    let since = std::time::Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(done) => done.map(drop),
            Err(_) => Err("a worker panicked".to_owned()),
        })
    })?;
    Ok(Run { wall: since.elapsed().as_secs_f64() * 1e3, ..Run::default() })
}

fn per_test(run: Run, count: u32) -> Run {
    Run { wall: run.wall / f64::from(count), busy: run.busy / f64::from(count), ..run }
}

/// The example with these tests.
fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/trivial")
}

/// Makes cargo build its test targets.
fn build(package: &Path) -> Result<[PathBuf; 3]> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--no-run", "--message-format=json"]).current_dir(package);
    let built = String::from_utf8_lossy(&checked(&mut cargo)?.stdout).into_owned();
    let program = |target: &str| {
        let messages = built.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_target = |message: Value| {
            let found = message["target"]["name"] == target;
            message["executable"].as_str().filter(|_| found).map(PathBuf::from)
        };
        let mut found = messages.filter_map(of_target);
        found.next_back().ok_or("cargo names no executable")
    };
    let [each, shared, host] = ["each", "shared", "host"].map(program);
    Ok([each?, shared?, host?])
}
