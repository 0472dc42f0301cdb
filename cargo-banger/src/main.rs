//! The `cargo banger` command. Everything it does is in the modules below and in the lifecycle
//! crate; this file only turns an outcome into an exit status.

#[macro_use]
mod tell;
mod boot;
mod cli;
mod commands;
mod context;
mod env;
mod errand;
mod error;
mod exit_code;
mod interrupt;
mod report;
mod settings;
mod supervise;
mod terminal;
mod timings;

use std::process::ExitCode;

fn main() -> ExitCode {
    commands::main()
}
