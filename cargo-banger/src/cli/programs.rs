//! Commands that run what was built on the host.

use std::ffi::OsString;

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};

use super::{LimitArgs, VmArgs};

pub(super) const TEST_HELP: &str = "\
Doc tests run too, by rustdoc: in one VM for each crate of edition 2024, else in one for each doc
test. Exit status: cargo's 101 where a test failed, else as for all commands.";

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    pub(crate) vm: VmArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// What gets a VM of its own
    #[arg(long, value_name = "WHAT", default_value = "binary")]
    pub(crate) isolate: Isolate,
    /// How many VMs run at a time [default: as many as the host has cores and memory for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Arguments of `cargo test`; after `--`, those of the tests
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
    /// Whether `--` stood before the arguments, where clap takes it away.
    #[arg(skip = std::env::args_os().any(|argument| argument == "--"))]
    dashes: bool,
}

impl TestArgs {
    /// The arguments of cargo and those of the tests.
    pub(crate) fn split(&self) -> (&[OsString], &[OsString]) {
        match self.arguments.iter().position(|argument| argument == "--") {
            Some(at) => (&self.arguments[..at], &self.arguments[at + 1..]),
            None if self.dashes => (&[], &self.arguments),
            None => (&self.arguments, &[]),
        }
    }

    /// How many VMs may run at a time, where that was said.
    pub(crate) fn jobs(&self) -> Option<usize> {
        self.jobs.map(usize::from)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolate {
    /// Each test binary
    Binary,
    /// Each test
    Test,
}

#[derive(Args, Debug)]
pub(crate) struct NextestArgs {
    #[command(flatten)]
    pub(crate) vm: VmArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// Arguments of `cargo nextest`, such as `run`
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// A target that gets the runner; can be repeated [default: those that cargo builds for here]
    #[arg(long, value_name = "TRIPLE")]
    pub(crate) target: Vec<String>,
    /// Give nextest a profile `banger` too, which ends tests that hang
    #[arg(long)]
    pub(crate) nextest: bool,
    /// Replace another runner
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SuperviseArgs {
    /// The name of a group of tests to serve, one after another
    #[arg(long, requires = "owner")]
    pub(crate) group: Option<String>,
    /// The process with which the group ends
    #[arg(long)]
    pub(crate) owner: Option<i32>,
}

#[derive(Args, Debug)]
pub(crate) struct CollectArgs {
    /// Where to write it
    pub(crate) to: Utf8PathBuf,
    /// The executable
    pub(crate) program: Utf8PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct RunnerArgs {
    #[command(flatten)]
    pub(crate) vm: VmArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// The executable, built on the host
    #[arg(value_name = "BINARY")]
    pub(crate) program: Utf8PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<OsString>,
}
