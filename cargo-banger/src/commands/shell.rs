//! `cargo banger shell`: a login shell in a throwaway VM, or in one that was kept.

use banger_lifecycle::exec::GuestCommand;
use banger_lifecycle::machine::fleet;
use banger_lifecycle::spec::VmName;

use super::run::environment;
use super::vm_name;
use crate::boot::{Place, Request, Wish};
use crate::cli::ShellArgs;
use crate::context::Context;
use crate::errand::{Errand, Keep};
use crate::error::CommandError;
use crate::interrupt::Interrupts;
use crate::terminal;

pub(crate) async fn shell(args: ShellArgs, context: &Context) -> Result<u8, CommandError> {
    if let Some(name) = &args.kept {
        return enter(&vm_name(name)?, context).await;
    }
    let mut interrupts = Interrupts::listen()?;
    let mut wish = Wish::of(&args.vm);
    wish.may_be_kept = args.keep;
    wish.place = Some(Place::of(&args.place, context)?);
    let mut request = interrupts.end(Request::check(context, wish)).await?;
    request.expect_cargo();
    // Who types decides how long that takes.
    request.settings.timeout = None;
    let command = GuestCommand::login_shell()
        .directory(request.directory())
        .environment(environment(&request));
    let keep = if args.keep { Keep::Always } else { Keep::Never };
    let errand = Errand { command, is_shell: true, fetches: Vec::new(), keep, timings: None };
    errand.run(request, context, interrupts).await
}

/// A shell in a VM that runs: by its agent where that is free, else by SSH.
async fn enter(name: &VmName, context: &Context) -> Result<u8, CommandError> {
    let mut interrupts = Interrupts::listen()?;
    let shell = async {
        let Some(visit) = fleet::visit(&context.layout, name).await? else {
            // `ssh` may be killed with the VM, and leave the terminal as the shell had it.
            let _restored = terminal::Restored::later().ok();
            return Ok(fleet::enter(&context.layout, name).await?);
        };
        let (streams, lent) = terminal::streams(true)?;
        let ended = terminal::until_left(lent, visit.shell(streams)).await;
        Ok(ended.ok_or_else(CommandError::left)??)
    };
    interrupts.end(shell).await
}
