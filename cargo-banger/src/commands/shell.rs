//! `cargo banger shell`: a login shell in a throwaway VM, or in one that was kept.

use std::io::IsTerminal as _;

use banger_lifecycle::exec::{GuestCommand, Streams};
use banger_lifecycle::machine::fleet;

use super::run::environment;
use super::vm_name;
use crate::boot::{Request, Wish};
use crate::cli::ShellArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::interrupt::Interrupts;

pub(crate) async fn shell(args: ShellArgs, context: &Context) -> Result<u8, CommandError> {
    if let Some(name) = &args.kept {
        let name = vm_name(name)?;
        return Ok(fleet::enter(&context.layout, &name, None).await?);
    }
    let mut interrupts = Interrupts::listen()?;
    let has_terminal = std::io::stdin().is_terminal();
    let mut request =
        Request::check(context, Wish { may_be_kept: args.keep, ..Wish::of(&args.vm) }).await?;
    if has_terminal {
        request.expect_login();
    }
    request.expect_cargo();
    let command = GuestCommand::login_shell()
        .directory(request.directory(context))
        .environment(environment(&request));
    let mut guest = tokio::select! {
        guest = request.start(context) => guest?,
        _ = interrupts.next() => return Err(CommandError::interrupted()),
    };
    context.reporter.clear();
    let status = if has_terminal {
        guest.run_on_terminal(command).await
    } else {
        let streams = Streams {
            stdin: Some(Box::new(tokio::io::stdin())),
            stdout: Box::new(tokio::io::stdout()),
            stderr: Box::new(tokio::io::stderr()),
        };
        guest.run(command, streams, async || interrupts.next().await).await
    };
    if args.keep {
        let name = guest.keep()?;
        context.events.note(format!("{name} stays: `cargo banger stop {name}` ends it"));
    } else {
        guest.shutdown().await?;
    }
    Ok(status?)
}
