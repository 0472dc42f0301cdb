//! What a start costs beside hand-written scripts and beside virtme-ng, and what a sync costs
//! beside `sftp`. Contenders take turns within one run; nothing here fails by being slow.
//!
//! ```text
//! options ─► raw (records VMs) ────┐
//!            banger, before, vng ──┼─► contest ─► report
//!            sync (tree), tests ───┘
//! ```

mod banger;
mod before;
mod contest;
mod latency;
mod options;
mod raw;
mod report;
mod samples;
mod sync;
mod tests;
mod tree;
mod vng;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use fs_err as fs;

use banger::{Banger, first_line};
use before::{Before, named};
use contest::Contender;
use latency::Latencies;
use options::{Options, Row};
use raw::Raw;
use report::{Line, Table};
use vng::Vng;

/// The benchmark's own failures are read by people only.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const RAW_RESTORE: &str = "raw script: cp, QEMU restores, ssh, kill";
const RUN: &str = "cargo banger run --no-sync -- true";
const RAW_BOOT: &str = "raw script: qemu-img, QEMU boots, ssh, kill";
const COLD: &str = "cargo banger run --cold --no-sync -- true";
const VNG: &str = "virtme-ng: vng -- true";

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.bench {
        eprintln!("nothing measured: run it by `cargo bench`");
        return ExitCode::SUCCESS;
    }
    match measure(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Result<()> {
    let banger = Banger::new(&options.binary)?;
    let before = options.before.as_deref().map(Before::build).transpose()?;
    let load_before = load();
    let mut tables = Vec::new();
    if options.rows.iter().any(|row| !matches!(row, Row::Sync | Row::Tests | Row::Latency)) {
        tables.push(starts(&banger, before.as_ref(), options)?);
    }
    if options.rows.contains(&Row::Sync) {
        tables.extend(sync::tables(&banger, options)?);
    }
    if options.rows.contains(&Row::Tests) {
        tables.push(tests::table(&banger, before.as_ref(), options)?);
    }
    let latency = options.rows.contains(&Row::Latency);
    let latency = latency.then(|| Latencies::measure(&banger, options)).transpose()?;
    let host = format!(
        "{} CPUs, load {load_before} before and {} after; {}; {}",
        std::thread::available_parallelism()?,
        load(),
        first_line("qemu-system-x86_64", &["--version"]),
        options.binary.display()
    );
    if options.json {
        let latency = latency.iter().map(Latencies::json);
        let tables: Vec<_> = tables.iter().map(Table::json).chain(latency).collect();
        println!("{:#}", serde_json::json!({ "host": host, "tables": tables }));
    } else {
        println!("{host}");
        println!("times in ms; cpu: what the processors were busy for");
        println!("ratio: to the first line, within a round; the median over the rounds");
        tables.iter().for_each(Table::print);
        latency.iter().for_each(Latencies::print);
    }
    Ok(())
}

/// `true` in a new VM, in all the ways that were asked for; the raw restore is always among them.
fn starts(banger: &Banger, before: Option<&Before>, options: &Options) -> Result<Table> {
    let wants = |row| options.rows.contains(&row);
    let restore = Raw::restore(banger, "2")?;
    let boot = wants(Row::Cold).then(|| Raw::boot(banger)).transpose()?;
    let small = tree::crate_in(banger.home(), "bench-crate")?;
    let large = wants(Row::Large).then(|| tree::large(banger, options.files)).transpose()?;
    let vng = wants(Row::Vng).then(|| Vng::find(options, restore.is_emulated()));
    let mut contenders = vec![Contender::new(RAW_RESTORE, || restore.measure())];
    let mut notes: Vec<(String, String)> = Vec::new();
    let mut both = |name: &str, directory: &Path, args: &'static [&'static str]| {
        let directory = directory.to_owned();
        let here = directory.clone();
        contenders.push(Contender::new(name, move || banger.measure(&here, args)));
        if let Some(before) = before {
            let measure = move || before.banger.measure(&directory, args);
            contenders.push(Contender::new(named(name), measure));
            notes.push((name.to_owned(), named(name)));
        }
    };
    if wants(Row::Run) {
        both(RUN, banger.home(), &["--no-sync"]);
    }
    if wants(Row::Workspace) {
        both("cargo banger run -- true, 2 files unchanged", &small, &[]);
    }
    if let Some(large) = &large {
        both(&format!("cargo banger run -- true, {} files unchanged", options.files), large, &[]);
    }
    if let Some(boot) = &boot {
        contenders.push(Contender::new(RAW_BOOT, || boot.measure()));
        let cold = || banger.measure(banger.home(), &["--no-sync", "--cold"]);
        contenders.push(Contender::new(COLD, cold));
    }
    if let Some(Ok(vng)) = &vng {
        contenders.push(Contender::new(VNG, || vng.measure()));
    }
    let mut lines = contest::hold(contenders, options.runs);
    let fixed = [(RUN, RAW_RESTORE), (COLD, RAW_BOOT), (COLD, RUN), (VNG, RUN), (VNG, COLD)];
    let fixed = fixed.map(|(one, other)| (one.to_owned(), other.to_owned()));
    let notes = fixed.iter().chain(&notes);
    let notes = notes.filter_map(|(one, other)| report::ratio(&lines, one, other)).collect();
    match &vng {
        Some(Ok(vng)) => eprintln!("{}", vng.version()),
        Some(Err(reason)) => lines.push(Line::missing(VNG, reason)),
        None => {}
    }
    let title = "true in a new VM, from the start of the program to its end".to_owned();
    Ok(Table { title, lines, notes })
}

/// How busy the host is: the mean over a minute.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
