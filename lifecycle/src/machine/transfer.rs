//! SFTP with a server that the guest's agent starts: it needs no network of the guest's, and no login.

use openssh_sftp_client::Sftp;

use crate::error::Cause;
use crate::exec::{Channel, GuestCommand, Streams, step_done, stream};
use crate::sync::sftp_options;

/// Bytes under way between the client and the channel, in each direction.
const BUFFER: usize = 256 << 10;

/// OpenSSH's server, and where distributions put it.
const SERVER: &str = "sftp-server";
const DIRECTORIES: &str = "/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh:/usr/libexec";

/// Has somebody speak to a server, which ends with that.
pub(super) async fn with_sftp<T>(
    channel: &Channel,
    talk: impl AsyncFnOnce(&Sftp) -> Result<T, Cause>,
) -> Result<T, Cause> {
    let (to_server, input) = tokio::io::duplex(BUFFER);
    let (output, from_server) = tokio::io::duplex(BUFFER);
    let mut stderr = Vec::new();
    let path = vec![("PATH".to_owned(), DIRECTORIES.into())];
    let command = GuestCommand::new(vec![SERVER.into()]).environment(path);
    let serving = stream::run(channel, &command, Streams::to(output, &mut stderr).reading(input));
    let talking = async {
        let sftp = Sftp::new(to_server, from_server, sftp_options()).await.map_err(lost)?;
        let said = talk(&sftp).await?;
        // A clean end, so that every reply has been seen.
        sftp.close().await.map_err(lost)?;
        Ok(said)
    };
    let (served, talked) = tokio::join!(serving, talking);
    // Why there is no server says more than what came of that.
    step_done("serving files", served?, &stderr)?;
    talked
}

fn lost(error: openssh_sftp_client::Error) -> Cause {
    std::io::Error::other(error).into()
}
