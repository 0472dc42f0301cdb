//! SFTP with a server that the guest's agent starts: it needs no network of the guest's, and no login.

use std::time::Duration;

use rustix::process::Signal;

use super::tail::Tail;
use crate::error::Cause;
use crate::exec::{Channel, GuestCommand, Streams, step_done, stream};
use crate::sync::{Session, SyncError};

/// Bytes under way between the client and the channel, in each direction.
const BUFFER: usize = 256 << 10;

/// OpenSSH's server, and where distributions put it.
const SERVER: &str = "sftp-server";
const DIRECTORIES: &str = "/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh:/usr/libexec";

/// How long a server may take to end, once nothing is asked of it any more.
const END_LIMIT: Duration = Duration::from_secs(2);

/// How long it may take to have a server killed that does not end.
const KILL_LIMIT: Duration = Duration::from_secs(1);

/// Has somebody speak to a server, which ends with that. The server is not trusted: see
/// [`Session`]. Dropping the future leaves it to the next command to end the server.
pub(super) async fn with_sftp<T>(
    channel: &Channel,
    talk: impl AsyncFnOnce(&Session) -> Result<T, Cause>,
) -> Result<T, Cause> {
    let path = vec![("PATH".to_owned(), DIRECTORIES.into())];
    serve(channel, GuestCommand::new(vec![SERVER.into()]).environment(path), talk).await
}

async fn serve<T>(
    channel: &Channel,
    server: GuestCommand,
    talk: impl AsyncFnOnce(&Session) -> Result<T, Cause>,
) -> Result<T, Cause> {
    let (to_server, input) = tokio::io::duplex(BUFFER);
    let (output, from_server) = tokio::io::duplex(BUFFER);
    let mut stderr = Tail::default();
    let mut served = None;
    let talked = {
        let streams = Streams::to(output, &mut stderr).reading(input);
        let serving = stream::run(channel, &server, streams);
        let talking = async {
            let session = Session::open(to_server, from_server).await?;
            let said = talk(&session).await?;
            // A clean end, so that every reply has been seen.
            session.close().await?;
            Ok(said)
        };
        tokio::pin!(serving, talking);
        let talked = tokio::select! {
            talked = &mut talking => talked,
            ended = &mut serving => {
                served = Some(ended);
                talking.await
            }
        };
        if served.is_none() && !is_fault(&talked) {
            served = tokio::time::timeout(END_LIMIT, serving).await.ok();
        }
        talked
    };
    match served {
        // Why there is no server says more than what came of that.
        Some(status) => step_done("serving files", status?, stderr.bytes())?,
        None => kill(channel).await,
    }
    talked
}

/// Whether the server itself is what is wrong: it owes no explanation then.
fn is_fault<T>(talked: &Result<T, Cause>) -> bool {
    matches!(talked, Err(Cause::Sync(SyncError::Server(_))))
}

/// Kills the command that runs; the agent may not listen.
async fn kill(channel: &Channel) {
    drop(tokio::time::timeout(KILL_LIMIT, channel.signal(Signal::KILL)).await);
}

#[cfg(test)]
mod tests;
