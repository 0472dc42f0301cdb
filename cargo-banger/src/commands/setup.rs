//! `cargo banger setup`: Firecracker, for this user.

use banger_lifecycle::vmm::firecracker::release::{self, ReleaseError};

use crate::cli::SetupArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;

pub(crate) async fn setup(args: &SetupArgs, context: &Context) -> Result<u8, CommandError> {
    let what = format!("fetching Firecracker {} from {}", release::VERSION, args.mirror);
    context.events.note(what);
    let program = release::install(&context.layout, &args.mirror).await.map_err(failed)?;
    context.events.note(format!("{program} is used from now on where none is on PATH"));
    Ok(0)
}

fn failed(error: ReleaseError) -> CommandError {
    CommandError::of(&error, exit_code::HOST_NOT_READY, error.hint())
}
