//! `cargo banger gate`: what stands between a VMM and `passt`, as a process that may outlive us.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use banger_lifecycle::network::{Reach, gate};

use crate::error::CommandError;

/// Passes on what may pass, until the VMM or `passt` ends. Standard input is a socket that leads to the
/// one, standard output to the other.
pub(crate) fn run(reach: &str) -> Result<u8, CommandError> {
    let reach: Reach = reach.parse().map_err(CommandError::usage)?;
    let vmm = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let passt = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    gate::run(vmm, passt, reach)?;
    Ok(0)
}
