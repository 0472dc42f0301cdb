//! Packing a directory tree into an erofs image.

use banger_protocol::event::Events;
use camino::Utf8Path;
use tokio::process::Command;

use crate::layer::progress::Progress;
use crate::process::{ToolError, find_program, run_tool};

/// One packing job.
pub(super) struct Packing<'a> {
    /// The directory whose content becomes the root of the image.
    pub(super) tree: &'a Utf8Path,
    /// The names in it that are left out.
    pub(super) leave_out: &'a [&'a str],
    /// The image to write.
    pub(super) image: &'a Utf8Path,
    /// What to call the work in progress events.
    pub(super) what: &'a str,
    /// About how many bytes the image will have, where that is known.
    pub(super) expected: Option<u64>,
}

/// The time that every file in a layer carries, in seconds since 1970 (2006-07-24).
///
/// Build scripts that watch vendored files compare times with the last build's: with the real
/// ones, a layer made anew would have cargo rebuild what did not change.
const FIXED_TIME: u64 = 1_153_704_088;

impl Packing<'_> {
    /// Runs `mkfs.erofs`, and tells how far it is by the size of what it has written.
    ///
    /// Uncompressed, because a guest reads these files over and over and the host's page cache is
    /// shared by all guests; all files belong to the guest's root.
    pub(super) async fn run(&self, events: &Events) -> Result<(), ToolError> {
        let mut command = self.command();
        let progress = Progress { events, what: self.what, total: self.expected };
        let written = || fs_err::metadata(self.image).map_or(0, |file| file.len());
        progress.watch(run_tool(&mut command), written).await.map(|_| ())
    }

    fn command(&self) -> Command {
        let program = find_program("mkfs.erofs", None).unwrap_or_else(|| "mkfs.erofs".into());
        let mut command = Command::new(program);
        command.args(["--quiet", "-x-1", "--all-root"]).arg(format!("-T{FIXED_TIME}"));
        command.args(self.leave_out.iter().map(|name| format!("--exclude-path={name}")));
        command.arg(self.image).arg(self.tree);
        command
    }
}
