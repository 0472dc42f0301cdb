//! `cargo banger shell`: a login shell in a throwaway VM, or in one that was kept.

use banger_lifecycle::exec::GuestCommand;
use banger_lifecycle::machine::fleet;

use super::run::environment;
use super::vm_name;
use crate::boot::{Request, Wish};
use crate::cli::ShellArgs;
use crate::context::Context;
use crate::errand::{Errand, Keep};
use crate::error::CommandError;
use crate::interrupt::Interrupts;

pub(crate) async fn shell(args: ShellArgs, context: &Context) -> Result<u8, CommandError> {
    if let Some(name) = &args.kept {
        let name = vm_name(name)?;
        return Ok(fleet::enter(&context.layout, &name).await?);
    }
    let interrupts = Interrupts::listen()?;
    let mut request =
        Request::check(context, Wish { may_be_kept: args.keep, ..Wish::of(&args.vm) }).await?;
    request.expect_cargo();
    // Who types decides how long that takes.
    request.settings.timeout = None;
    let command = GuestCommand::login_shell()
        .directory(request.directory(context))
        .environment(environment(&request));
    let keep = if args.keep { Keep::Always } else { Keep::Never };
    let errand = Errand { command, is_shell: true, fetches: Vec::new(), keep, timings: None };
    errand.run(request, context, interrupts).await
}
