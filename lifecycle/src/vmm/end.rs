//! How a VM stops being usable, and noticing it.

use std::process::ExitStatus;

use tokio::process::Child;

use super::console::Sign;
use super::launch::Control;
use super::qemu::qmp::Seen;

/// How a VM stops being usable.
pub(super) enum End {
    Exited(ExitStatus),
    /// The guest has stopped, and its VMM does not end with it.
    Stopped,
    FullDisk(String),
    /// The guest's agent has ended; the VM may be about to.
    Deserted,
}

/// Waits for the end.
pub(super) async fn failure(child: &mut Child, control: &mut Control) -> End {
    let told = async {
        let end = match control {
            Control::Qemu { seen, .. } => {
                let bad = |seen: &Seen| seen.full_disk.is_some() || seen.agent_ended;
                let seen = seen.wait_for(bad).await;
                seen.ok().map(|seen| seen.full_disk.clone().map_or(End::Deserted, End::FullDisk))
            }
            Control::Firecracker { signs, root, .. } => {
                let off = |sign: &Sign| matches!(sign, Sign::PoweredOff | Sign::GaveUp(_));
                let lost = async {
                    match root {
                        Some(root) => root.lost().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    stopped = signs.wait_for(off) => stopped.ok().map(|_| End::Stopped),
                    () = lost => Some(End::FullDisk("root".to_owned())),
                }
            }
        };
        match end {
            Some(end) => end,
            // Nobody is there any more who would tell: the process's end is what counts.
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        status = child.wait() => End::Exited(status.unwrap_or_default()),
        end = told => end,
    }
}
