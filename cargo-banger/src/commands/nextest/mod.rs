//! `cargo banger nextest`: cargo-nextest, with ourselves as the runner of each test.

mod wrappers;

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::targets::Targets;
use crate::cli::NextestArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;

/// Becomes cargo-nextest, which builds on the host and gives each test a process: a runner of ours,
/// with a VM.
pub(crate) async fn nextest(args: NextestArgs, context: &Context) -> Result<u8, CommandError> {
    let there = Command::new("cargo-nextest").args(["nextest", "--version"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        let error = CommandError::new("cargo-nextest is not installed", exit_code::HOST_NOT_READY);
        let hint =
            "`cargo install --locked cargo-nextest` installs it; `cargo banger test` does without";
        return Err(error.hint(hint.to_owned()));
    }
    wrappers::refuse(&args.arguments, context).await?;
    let targets = Targets::check(&args.arguments, context).await?;
    let mut flags = args.vm.flags();
    flags.extend(args.limits.flags());
    let mut command = Command::new(&context.cargo);
    command.arg("nextest").args(&args.arguments);
    command.envs(targets.variables(&["runner"], &flags)?);
    let error = command.exec();
    Err(CommandError::new("cannot run cargo", exit_code::HOST_NOT_READY).caused_by(&error))
}
