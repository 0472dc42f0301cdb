//! `cargo banger vsock`: what `ssh` runs as its `ProxyCommand`, with `ProxyUseFdpass`.

use std::os::fd::AsFd as _;

use banger_lifecycle::process::hand_over;
use banger_lifecycle::session::vsock::connect;
use camino::Utf8Path;
use tokio::net::UnixStream;

use crate::error::CommandError;

/// Connects, and hands the connection over on standard output, which `ssh` has made a socket.
pub(crate) async fn vsock(socket: &Utf8Path, port: u32) -> Result<u8, CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::usage(format!("cannot connect to port {port} behind `{socket}`"))
            .caused_by(&error)
    };
    let connection = connect(socket, port).await.map_err(failed)?;
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().map_err(failed)?;
    let stdout = std::os::unix::net::UnixStream::from(stdout);
    stdout.set_nonblocking(true).map_err(failed)?;
    let stdout = UnixStream::from_std(stdout).map_err(failed)?;
    // One byte, which carries it.
    hand_over(&stdout, &[0], connection.as_fd()).await.map_err(failed)?;
    Ok(0)
}
