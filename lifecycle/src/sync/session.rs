//! A session with a guest's SFTP server that cannot harm us: a checked connection, and an end to
//! every wait.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use openssh_sftp_client::Sftp;
use tokio::io::{AsyncRead, AsyncWrite};

use super::error::SyncError;
use super::filter::{Ledger, Receiving, Sending};
use super::sftp_options;

/// How long the client may take to end, once nothing is asked any more.
const CLOSING: Duration = Duration::from_secs(5);

/// An SFTP session whose server is not trusted. Dropping it ends it, whatever is under way.
#[derive(Debug)]
pub struct Session {
    sftp: Sftp,
    ledger: Arc<Ledger>,
}

impl Session {
    /// Begins a session over the standard input and output of a server.
    ///
    /// # Errors
    /// Where there is no server, it speaks another version, or breaks a rule.
    pub async fn open(
        input: impl AsyncWrite + Unpin + Send + 'static,
        output: impl AsyncRead + Unpin + Send + 'static,
    ) -> Result<Self, SyncError> {
        let ledger = Arc::<Ledger>::default();
        let input = Sending::new(input, Arc::clone(&ledger));
        let output = Receiving::new(output, Arc::clone(&ledger));
        let opening = Sftp::new(input, output, sftp_options());
        let opening = async { opening.await.map_err(|error| SyncError::Opening(Box::new(error))) };
        let sftp = guarded(&ledger, opening).await?;
        Ok(Self { sftp, ledger })
    }

    /// Ends it, once every reply has been seen.
    ///
    /// # Errors
    /// Where the connection broke, or the server broke a rule.
    pub async fn close(self) -> Result<(), SyncError> {
        let Self { sftp, ledger } = self;
        let closing = async {
            match tokio::time::timeout(CLOSING, sftp.close()).await {
                Ok(closed) => closed.map_err(|error| SyncError::Closing(Box::new(error))),
                // All that was asked has been answered: nothing is lost.
                Err(_) => Ok(()),
            }
        };
        guarded(&ledger, closing).await
    }

    /// Waits for something that asks the server. What the server did wrong says more than what came
    /// of it.
    pub(super) async fn guarded<T>(
        &self,
        work: impl Future<Output = Result<T, SyncError>>,
    ) -> Result<T, SyncError> {
        guarded(&self.ledger, work).await
    }
}

impl Deref for Session {
    type Target = Sftp;

    fn deref(&self) -> &Sftp {
        &self.sftp
    }
}

async fn guarded<T>(
    ledger: &Ledger,
    work: impl Future<Output = Result<T, SyncError>>,
) -> Result<T, SyncError> {
    tokio::select! {
        biased;
        done = work => match ledger.fault() {
            Some(fault) => Err(fault.into()),
            None => done,
        },
        fault = ledger.silence() => Err(fault.into()),
    }
}
