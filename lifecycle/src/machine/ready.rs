//! Writing down how a guest that is up is reached, and waiting for what it is still about.

use std::time::Duration;

use camino::Utf8Path;

use crate::error::Cause;
use crate::exec::{Channel, GuestCommand, step_done, stream};
use crate::rundir::RunDir;
use crate::session::{Keys, config};
use crate::vmm::{Vmm, VmmError};

/// How long systemd may take to bring everything up.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(180);

/// How long any other step may take.
const STEP_LIMIT: Duration = Duration::from_secs(300);

/// Writes how others reach the guest.
pub(super) async fn ssh_config(
    vmm: &mut Vmm,
    run_dir: &RunDir,
    keys: &Keys,
    program: &Utf8Path,
) -> Result<(), Cause> {
    let endpoint = vmm.endpoint().await?;
    Ok(config::write(run_dir.path(), &endpoint, keys, program)?)
}

/// systemd is complete when no job is left; a failed unit is the user's to judge.
pub(super) async fn wait_for_systemd(channel: &Channel) -> Result<(), Cause> {
    let script = "until systemctl is-system-running --wait >/run/banger/systemd; do \
                  grep -q degraded /run/banger/systemd && exit 0; sleep 0.2; done";
    let waiting = step(channel, "waiting for systemd", script.to_owned());
    match tokio::time::timeout(SYSTEMD_LIMIT, waiting).await {
        Ok(done) => done,
        Err(_) => {
            Err(VmmError::Silent { seconds: SYSTEMD_LIMIT.as_secs(), accelerator: "systemd" }
                .into())
        }
    }
}

/// Runs a step of ours in the guest, for [so long](STEP_LIMIT) at most; its failure carries what it wrote.
pub(super) async fn step(
    channel: &Channel,
    what: &'static str,
    script: String,
) -> Result<(), Cause> {
    // The initrd's busybox: static, and warm in the guest's page cache since the boot.
    let shell = ["/run/banger/busybox", "sh", "-c"].map(Into::into);
    let command = GuestCommand::new(shell.into_iter().chain([script.into()]).collect());
    let done = tokio::time::timeout(STEP_LIMIT, stream::capture(channel, &command)).await;
    let seconds = STEP_LIMIT.as_secs();
    let (status, _, stderr) = done.map_err(|_| VmmError::NoAnswer { what, seconds })??;
    Ok(step_done(what, status, &stderr)?)
}
