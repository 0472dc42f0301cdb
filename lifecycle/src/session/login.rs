//! The way into a guest by SSH, which is taken when it is first needed.

use tokio::sync::OnceCell;

use super::{Master, SessionError, SshConfig};

/// A login that has been made, or can be. Dropping it ends the connection.
#[derive(Debug)]
pub(crate) struct Login {
    config: SshConfig,
    master: OnceCell<Master>,
}

impl Login {
    /// One that has not been made.
    pub(crate) fn new(config: SshConfig) -> Self {
        Self { config, master: OnceCell::new() }
    }

    /// The connection; the first who asks waits for the login.
    ///
    /// # Errors
    /// Where the guest does not let us in.
    pub(crate) async fn master(&self) -> Result<&Master, SessionError> {
        self.master.get_or_try_init(|| Master::connect(self.config.clone())).await
    }

    /// Ends the connection in order, where there is one.
    pub(crate) async fn close(self) {
        if let Some(master) = self.master.into_inner() {
            master.close().await;
        }
    }
}
