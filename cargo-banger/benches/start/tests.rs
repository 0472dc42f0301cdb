//! What a test costs in a VM of its own: many trivial ones, several at a time, beside as many runs
//! of the raw script that restores, beside the same tests in one VM, and on the host.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use fs_err as fs;
use serde_json::Value;

use crate::Result;
use crate::banger::{Banger, Run, checked, timed};
use crate::contest::{self, Contender};
use crate::options::Options;
use crate::raw::Raw;
use crate::report::{Table, ratio};

const RAW: &str = "raw script that restores, for each";
const EACH: &str = "#[banger::test], a VM for each";
const SHARED: &str = "#[banger::test(shared)], one VM";
const HOST: &str = "#[test], on the host";

/// The attribute, and the test target that has it on each of its tests.
const TARGETS: [(&str, &str); 3] =
    [("each", "banger::test"), ("shared", "banger::test(shared = \"all\")"), ("host", "test")];

/// Measures all four.
pub(crate) fn table(banger: &Banger, options: &Options) -> Result<Table> {
    let (count, at_once) = (options.tests, std::thread::available_parallelism()?.get());
    let raw = Raw::restore(banger)?;
    let [each, shared, host] = build(banger, count)?;
    let run = |program: &Path| {
        let mut command = Command::new(program);
        command.arg(format!("--test-threads={at_once}")).current_dir(package(banger));
        command.env("BANGER_HOME", banger.home()).env("BANGER_BIN", &options.binary);
        command.env_remove("RUST_BACKTRACE");
        Ok(per_test(timed(&mut command)?.1, count))
    };
    // Templates and layers are made once.
    run(&each)?;
    let contenders = vec![
        Contender::new(RAW, || Ok(per_test(all(&raw, count, at_once)?, count))),
        Contender::new(EACH, || run(&each)),
        Contender::new(SHARED, || run(&shared)),
        Contender::new(HOST, || run(&host)),
    ];
    let lines = contest::hold(contenders, options.runs);
    let notes = [(EACH, RAW), (EACH, SHARED), (SHARED, HOST)]
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

fn package(banger: &Banger) -> PathBuf {
    banger.home().join("bench-tests")
}

/// Writes a crate of so many tests under each attribute, and has cargo build it.
fn build(banger: &Banger, count: u32) -> Result<[PathBuf; 3]> {
    let package = package(banger);
    fs::create_dir_all(package.join("src"))?;
    fs::create_dir_all(package.join("tests"))?;
    fs::write(package.join("src/lib.rs"), "")?;
    let dependency = Path::new(env!("CARGO_MANIFEST_DIR")).join("../banger-test").canonicalize()?;
    let manifest = format!(
        "[package]\nname = \"bench-tests\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n\
         [dev-dependencies]\nbanger-test = {{ path = {dependency:?} }}\n"
    );
    fs::write(package.join("Cargo.toml"), manifest)?;
    for (target, attribute) in TARGETS {
        let mut text = String::new();
        for number in 0..count {
            writeln!(text, "#[{attribute}]\nfn t{number}() {{}}")?;
        }
        fs::write(package.join("tests").join(target).with_extension("rs"), text)?;
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--no-run", "--message-format=json"]).current_dir(&package);
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
    let [each, shared, host] = TARGETS.map(|(target, _)| program(target));
    Ok([each?, shared?, host?])
}
