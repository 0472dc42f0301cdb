//! `cargo banger run`: one command in a throwaway VM.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use banger_lifecycle::exec::GuestCommand;

use crate::boot::{Place, Request, Wish};
use crate::cli::RunArgs;
use crate::context::Context;
use crate::env;
use crate::errand::{Errand, Fetch, Keep};
use crate::error::CommandError;
use crate::interrupt::Interrupts;

pub(crate) async fn run(args: RunArgs, context: &Context) -> Result<u8, CommandError> {
    let mut interrupts = Interrupts::listen()?;
    let place = Place::of(&args.place, context)?;
    let fetch = |out: &String| fetch(out, &place, context);
    let fetches = args.out.iter().map(fetch).collect::<Result<Vec<_>, _>>()?;
    let mut wish = Wish::of(&args.vm);
    wish.flags.extend(args.limits.flags());
    wish.flags.extend(args.fetch_limit.map(|limit| ("fetch-limit", limit)));
    wish.flags.extend(args.fetch_entries.map(|entries| ("fetch-entries", entries)));
    wish.may_be_kept = args.keep;
    wish.place = Some(place);
    let mut request = interrupts.end(Request::check(context, wish)).await?;
    request.settings.fetch.outside_links = args.out_links;
    if runs_cargo(&args.command) {
        request.expect_cargo();
    }
    let command = GuestCommand::new(args.command)
        .directory(request.directory())
        .environment(environment(&request));
    let keep = if args.keep { Keep::Always } else { request.keep_on_failure() };
    let errand = Errand { command, is_shell: false, fetches, keep, timings: args.timings };
    errand.run(request, context, interrupts).await
}

/// `GUEST:HOST`, the one relative to the place, the other to the directory we were called in.
fn fetch(text: &str, place: &Place, context: &Context) -> Result<Fetch, CommandError> {
    match text.rsplit_once(':') {
        Some((guest, host)) if !guest.is_empty() && !host.is_empty() => {
            let (guest, host) = (place.directory.join(guest), context.directory.join(host));
            if place.redirects(host.as_std_path()) {
                let message =
                    format!("out: `{host}` leads on by a link of the untrusted directory");
                return Err(CommandError::usage(message));
            }
            Ok(Fetch { guest: guest.into(), host: host.into() })
        }
        _ => {
            let expected = "expected GUEST:HOST, such as target/report.xml:report.xml";
            Err(CommandError::usage(format!("out: `{text}` is not valid: {expected}")))
        }
    }
}

/// What the command sees beside the guest's own variables.
pub(crate) fn environment(request: &Request) -> Vec<(String, OsString)> {
    env::for_commands(request.place.trust).chain(request.settings.env.iter().cloned()).collect()
}

/// Whether the command compiles.
fn runs_cargo(command: &[OsString]) -> bool {
    let program = command.first().and_then(|program| Path::new(program).file_name());
    matches!(program.and_then(OsStr::to_str), Some("cargo" | "rustc"))
}
