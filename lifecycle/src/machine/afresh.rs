//! A second start of a run whose guest failed at a disk of its workspace: from a disk that holds
//! nothing, whatever was wrong with the other.
//!
//! ```text
//! connect or sync ── fails at a disk ─► VM ended ─► disk forgotten, empty one ─► cold boot ─► connect
//! ```
//!
//! What earlier commands wrote to a disk must never keep a workspace's later runs from starting. A disk
//! is thrown away once only: what fails with an empty one has another reason.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use rustix::process::Signal;

use super::Prepared;
use super::booted::enter;
use super::workspace_mount::Scans;
use crate::error::{Cause, During as _, Error, in_full};
use crate::event::Stage;
use crate::exec::{Channel, ExecError};
use crate::overlay::{Part, WorkspaceDisk};
use crate::sync::SyncError;
use crate::vmm::{Vmm, VmmError};

/// How long a VM may take to end that takes a connection with it.
const GRACE: Duration = Duration::from_millis(500);

impl Prepared {
    /// Has the VM start again where its guest failed, which may be for the disk `part`, with an empty one
    /// in that one's place.
    ///
    /// # Errors
    /// The failure itself where that disk cannot be why; or that of the second start.
    pub(super) async fn start_afresh(
        &mut self,
        vmm: &mut Vmm,
        part: Part,
        cause: Cause,
        stage: Stage,
    ) -> Result<Channel, Error> {
        let disk = self.workspace_disks.as_ref().and_then(|disks| disks.get(part));
        if disk.is_none_or(WorkspaceDisk::is_fresh) || !may_be_a_disks(&cause) {
            return Err(Error { console: Some(vmm.console_tail()), ..cause.during(stage) });
        }
        self.tell_of_loss(part, &in_full(&cause));
        vmm.end().await;
        self.turn_cold(&[part]).await.during(stage)?;
        *vmm = self.boot_cold().await?;
        match enter(vmm, self, true).await {
            Ok(channel) => Ok(channel),
            Err(cause) => {
                let cause = last_cause(vmm, cause).await;
                Err(Error { console: Some(vmm.console_tail()), ..cause.during(stage) })
            }
        }
    }

    /// Has later runs start without what was built where a guest's kernel has died in the code that reads
    /// its disk. What else a command's guest dies of is the command's own affair.
    pub(super) async fn doubt_build(&self, error: &Error) {
        let panicked = matches!(&*error.source, Cause::Vmm(VmmError::Panicked(_)));
        let console = error.console.as_deref().unwrap_or_default();
        let disk = self.workspace_disks.as_ref().and_then(|disks| disks.get(Part::Build));
        if panicked && is_a_filesystems(console) && disk.is_some_and(|disk| !disk.is_fresh()) {
            self.drop_build(&in_full(&error.source)).await;
        }
    }

    /// Has later runs start without what was built.
    pub(super) async fn drop_build(&self, why: &str) {
        let disk = self.workspace_disks.as_ref().and_then(|disks| disks.get(Part::Build));
        let Some(disk) = disk else { return };
        match disk.forget().await {
            Ok(()) => self.tell_of_loss(Part::Build, why),
            Err(error) => tracing::warn!(%error, "a damaged workspace disk stays"),
        }
    }

    /// Says that a disk is thrown away.
    pub(super) fn tell_of_loss(&self, part: Part, why: &str) {
        let what = match part {
            Part::Sources => {
                "the disk with the workspace's sources is thrown away, and they are sent again"
            }
            Part::Build => "the disk with `target/` is thrown away, with what was built",
        };
        self.events.note(format!("{what}: {why}"));
    }

    /// Whether a VMM did not start for what is in a file of a workspace's disk.
    pub(super) fn is_of_disks(&self, error: &VmmError) -> bool {
        match (error, &self.workspace_disks) {
            (VmmError::Ended { stderr, .. }, Some(disks)) => disks.are_named_in(stderr),
            _ => false,
        }
    }

    /// Begins with the workspace's disks anew, those that are `doubted` empty, and looks again for what is
    /// to be sent.
    pub(super) async fn reopen_disks(&mut self, doubted: &[Part]) -> Result<(), Cause> {
        if let (Some(workspace), Some(disks)) = (&self.workspace, &mut self.workspace_disks) {
            disks.start_over(doubted).await?;
            self.scans = Some(Scans::start(workspace, &disks.sources));
        }
        Ok(())
    }
}

/// What led to a failure: a VM that is ending takes its connections with it, and either may be noticed
/// first.
pub(super) async fn last_cause(vmm: &mut Vmm, cause: Cause) -> Cause {
    match cause {
        Cause::Vmm(ref error) if !matches!(error, VmmError::Control(_)) => cause,
        other => match tokio::time::timeout(GRACE, vmm.failure()).await {
            Ok(error) => error.into(),
            Err(_) => other,
        },
    }
}

/// Whether the guest has found errors in the filesystem of a disk that is to be kept.
pub(super) fn is_damage(error: &VmmError) -> bool {
    matches!(error, VmmError::Step { reason, .. } if reason.starts_with("sound:"))
}

/// Whether the end of a console speaks of the filesystem's code.
fn is_a_filesystems(console: &str) -> bool {
    ["EXT4-fs", "ext4_"].iter().any(|word| console.contains(word))
}

/// Whether what a guest found on a disk may be why it failed; not where this host is, or somebody has
/// ended the VM.
fn may_be_a_disks(cause: &Cause) -> bool {
    const NOT_FOUND: u8 = 127;
    match cause {
        Cause::Vmm(VmmError::Ended { status, .. }) => {
            let ended = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP];
            !ended.iter().any(|signal| status.signal() == Some(signal.as_raw()))
        }
        Cause::Vmm(error) => matches!(
            error,
            VmmError::Panicked(_)
                | VmmError::GaveUp(_)
                | VmmError::Deserted
                | VmmError::PoweredOff
                | VmmError::Silent { .. }
                | VmmError::Step { .. }
                | VmmError::NoAnswer { .. }
                | VmmError::Control(_)
        ),
        Cause::Sync(error) => matches!(
            error,
            SyncError::Guest { .. }
                | SyncError::GuestFull { .. }
                | SyncError::Session { .. }
                | SyncError::Missing { .. }
        ),
        // Without a server in the image there is none with another disk.
        Cause::Exec(ExecError::Step { status, .. }) => *status != NOT_FOUND,
        Cause::Exec(error) => matches!(error, ExecError::NoStatus),
        // A session over the agent's channel that ended.
        Cause::Io(error) => error.kind() == std::io::ErrorKind::Other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_disk_is_blamed_for_what_a_guest_does_and_not_for_what_the_host_does() {
        let ended = |signal| VmmError::Ended {
            status: ExitStatus::from_raw(signal),
            stderr: String::new(),
        };
        let what = "mounting";
        let guests = [
            VmmError::Panicked("EXT4-fs: panic forced after error".to_owned()),
            VmmError::Step { what, reason: "disk: error 117".to_owned() },
            VmmError::NoAnswer { what, seconds: 60 },
            VmmError::Deserted,
            ended(Signal::ABORT.as_raw()),
        ];
        assert!(guests.into_iter().all(|error| may_be_a_disks(&error.into())));
        let refused = VmmError::Refused { command: "x".to_owned(), reason: "y".to_owned() };
        let hosts = [
            VmmError::HostDiskFull("sources".to_owned()),
            ended(Signal::KILL.as_raw()),
            ended(Signal::TERM.as_raw()),
            refused,
        ];
        assert!(!hosts.into_iter().any(|error| may_be_a_disks(&error.into())));
        let unreadable = SyncError::Unreadable {
            path: "/w/secret".into(),
            source: std::io::ErrorKind::PermissionDenied.into(),
        };
        assert!(!may_be_a_disks(&unreadable.into()));
        let path = "/run/banger/work/x/tree/y".into();
        let status = "input/output error".to_owned();
        assert!(may_be_a_disks(&SyncError::Guest { action: "write", path, status }.into()));
    }
}
