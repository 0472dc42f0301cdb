//! What a cold start costs beside a hand-written script and beside virtme-ng, and what a sync
//! costs beside `sftp`. Contenders take turns within one run; nothing here fails by being slow.
//!
//! ```text
//! options ─► raw (records a boot) ─┐
//!            banger, vng ──────────┴─► contest ─► report
//!            sync (tree) ──────────────┘
//! ```

mod banger;
mod contest;
mod options;
mod raw;
mod report;
mod samples;
mod sync;
mod tree;
mod vng;

use std::process::ExitCode;

use clap::Parser as _;
use fs_err as fs;

use banger::{Banger, first_line};
use contest::Contender;
use options::{Options, Row};
use raw::Raw;
use report::{Line, Table};
use vng::Vng;

/// The benchmark's own failures are read by people only.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

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
    let before = load();
    let mut tables = Vec::new();
    if options.rows.iter().any(|row| *row != Row::Sync) {
        tables.push(cold_starts(&banger, options)?);
    }
    if options.rows.contains(&Row::Sync) {
        tables.extend(sync::tables(&banger, options)?);
    }
    let host = format!(
        "{} CPUs, load {before} before and {} after; {}; {}",
        std::thread::available_parallelism()?,
        load(),
        first_line("qemu-system-x86_64", &["--version"]),
        options.binary.display()
    );
    if options.json {
        let tables: Vec<_> = tables.iter().map(Table::json).collect();
        println!("{:#}", serde_json::json!({ "host": host, "tables": tables }));
    } else {
        println!("{host}");
        println!("times in ms; cpu: what the processors were busy for");
        println!("ratio: to the first line, within a round; the median over the rounds");
        tables.iter().for_each(Table::print);
    }
    Ok(())
}

/// `true` in a new VM, in all the ways that were asked for; the raw script is always among them.
fn cold_starts(banger: &Banger, options: &Options) -> Result<Table> {
    let raw = Raw::record(banger)?;
    let workspace = tree::crate_in(banger.home(), "bench-crate")?;
    let vng = options.rows.contains(&Row::Vng).then(|| Vng::find(options, raw.is_emulated()));
    let mut contenders =
        vec![Contender::new("raw script: qemu-img, QEMU, ssh, kill", || raw.measure())];
    if options.rows.contains(&Row::Run) {
        let name = "cargo banger run --no-sync -- true";
        contenders.push(Contender::new(name, || banger.measure(banger.home(), &["--no-sync"])));
    }
    if options.rows.contains(&Row::Workspace) {
        let name = "cargo banger run -- true, workspace unchanged";
        contenders.push(Contender::new(name, || banger.measure(&workspace, &[])));
    }
    if let Some(Ok(vng)) = &vng {
        contenders
            .push(Contender::new(format!("{}: vng -- true", vng.version()), || vng.measure()));
    }
    let mut lines = contest::hold(contenders, options.runs);
    if let Some(Err(reason)) = &vng {
        lines.push(Line::missing("virtme-ng: vng -- true", reason));
    }
    let title = "true in a new VM, from the start of the program to its end".to_owned();
    Ok(Table { title, lines, notes: Vec::new() })
}

/// How busy the host is: the mean over a minute.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
