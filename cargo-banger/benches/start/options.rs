//! The benchmark's command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measure starts and syncs beside what does the same by hand
///
/// Run it by `cargo bench -p cargo-banger -- OPTIONS`. That builds with full optimisation first;
/// `cargo bench --profile dev …` measures the development build.
#[derive(Debug, Parser)]
#[command(name = "start")]
pub(crate) struct Options {
    /// How often each contender runs
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: u32,

    /// What to measure
    #[arg(
        long,
        value_name = "ROW",
        value_delimiter = ',',
        default_value = "run,workspace,large,cold,vng,sync,tests"
    )]
    pub(crate) rows: Vec<Row>,

    /// How many files the synced tree has
    #[arg(long, value_name = "N", default_value_t = 50_000)]
    pub(crate) files: u32,

    /// How often the whole tree is sent
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) transfers: u32,

    /// The cargo-banger to measure, in place of the one just built
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_cargo-banger"))]
    pub(crate) binary: PathBuf,

    /// Another checkout of this repository to measure beside it: rows `run`, `workspace`, `large` and `tests`
    #[arg(long, value_name = "DIR")]
    pub(crate) before: Option<PathBuf>,

    /// Where setup-peers.sh put virtme-ng [default: banger-bench in the user's cache]
    #[arg(long, value_name = "DIR")]
    pub(crate) peers: Option<PathBuf>,

    /// Install virtme-ng there first
    #[arg(long)]
    pub(crate) setup: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Given by `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

/// Something to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Row {
    /// `run --no-sync -- true`
    Run,
    /// `run -- true` in a small workspace where nothing changed
    Workspace,
    /// The same in a large one
    Large,
    /// `run --cold --no-sync -- true`, beside a raw script that boots
    Cold,
    /// virtme-ng
    Vng,
    /// A large tree: all of it, nothing of it, one file of it
    Sync,
    /// Trivial tests, each in a VM of its own, and by other ways
    Tests,
    /// Percentiles of the parts of a run, in the VMM that `BANGER_VMM` names
    Latency,
}
