//! A visit to a VM that was kept: commands by the guest's agent, which needs no network.

use camino::{Utf8Path, Utf8PathBuf};
use tokio::net::UnixStream;

use super::identity::surroundings;
use crate::error::{During as _, Error};
use crate::event::Stage;
use crate::exec::{Channel, GuestCommand, Streams, stream};
use crate::rundir::FileLock;
use crate::session::socket::ShortPath;

/// The one connection to the agent. Dropping it lets others in.
#[derive(Debug)]
pub struct Visit {
    channel: Channel,
    directory: Option<Utf8PathBuf>,
    _turn: FileLock,
}

/// The socket that leads to the agent of a VM that was kept.
pub(super) fn door(run_dir: &Utf8Path) -> Utf8PathBuf {
    run_dir.join("agent")
}

impl Visit {
    /// Enters; `None` where somebody else is there, or no way leads in.
    pub(super) async fn begin(
        run_dir: &Utf8Path,
        directory: Option<&Utf8Path>,
    ) -> std::io::Result<Option<Self>> {
        let door = door(run_dir);
        if !door.exists() {
            return Ok(None);
        }
        let turn = FileLock::try_exclusive(&door.with_extension("lock"))?;
        let Some(turn) = turn else { return Ok(None) };
        let path = ShortPath::to(&door)?;
        let Ok(stream) = UnixStream::connect(path.as_path()).await else { return Ok(None) };
        let directory = directory.map(Utf8Path::to_owned);
        Ok(Some(Self { channel: Channel::over(stream), directory, _turn: turn }))
    }

    /// Runs a login shell and returns its exit status; death by signal `n` is `128 + n`.
    ///
    /// # Errors
    /// Where the VM ends before the shell does, or a stream of ours fails.
    pub async fn shell(&self, streams: Streams<'_>) -> Result<u8, Error> {
        let command = GuestCommand::login_shell()
            .directory(self.directory.as_deref())
            .within(&surroundings(&[], false));
        stream::run(&self.channel, &command, streams).await.during(Stage::Command)
    }
}
