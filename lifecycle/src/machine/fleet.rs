//! VMs that other processes started: listing, entering and stopping them.

use std::io;

use camino::Utf8PathBuf;

use super::Visit;
use crate::error::{Cause, During as _, Error};
use crate::event::Stage;
use crate::network::nat::Nat;
use crate::network::{self, NetworkError};
use crate::rundir::leases::run_directories;
use crate::rundir::record::NetworkRecord;
use crate::rundir::run::guard_path;
use crate::rundir::{FileLock, Layout, Record};
use crate::session::shell;
use crate::spec::VmName;
use crate::teardown::remains;
use crate::teardown::sweep::bury;

/// A VM that runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its record.
    pub record: Record,
    /// Whether the command that started it still runs.
    pub attended: bool,
}

/// The VMs that run, by name.
///
/// # Errors
/// Where the run directories cannot be read.
pub async fn list(layout: &Layout) -> io::Result<Vec<Member>> {
    if !layout.runs().is_dir() {
        return Ok(Vec::new());
    }
    let _turn = FileLock::exclusive(&guard_path(layout)).await?;
    let mut members = Vec::new();
    for run_dir in run_directories(layout)? {
        let attended = FileLock::try_exclusive(&run_dir.join("lock"))?.is_none();
        // Of one that is not believed the sweep tells.
        if let Ok(Some(record)) = Record::read(layout, &run_dir) {
            members.push(Member { record, attended });
        }
    }
    members.sort_by(|one, two| one.record.meta.name.cmp(&two.record.meta.name));
    Ok(members)
}

/// Enters a VM that was kept; `None` where that is to be [by SSH](enter): it is attended, or somebody
/// is there already.
///
/// # Errors
/// Where there is no such VM.
pub async fn visit(layout: &Layout, name: &VmName) -> Result<Option<Visit>, Error> {
    let (run_dir, record) = find(layout, name)?;
    let begun = Visit::begin(&run_dir, record.meta.directory.as_deref()).await;
    begun.during(Stage::Connect)
}

/// Opens a login shell on our streams in a VM that runs, by SSH, and returns its status.
///
/// # Errors
/// Where there is no such VM or it does not answer.
pub async fn enter(layout: &Layout, name: &VmName) -> Result<u8, Error> {
    let (run_dir, record) = find(layout, name)?;
    let directory = record.meta.directory.as_deref();
    shell::run(&run_dir, directory).await.during(Stage::Command)
}

/// Whether a VM reaches beyond this host.
///
/// # Errors
/// Where there is no such VM, it has no network of its own, or `nft` fails.
pub fn nat(layout: &Layout, name: &VmName) -> Result<Nat, Error> {
    let network = network_of(layout, name)?;
    network::nat::status(&network).during(Stage::Connect)
}

/// Switches that, also while it is in use.
///
/// # Errors
/// As [`nat`].
pub fn switch_nat(layout: &Layout, name: &VmName, to: Nat) -> Result<(), Error> {
    let network = network_of(layout, name)?;
    network::nat::switch(&network, to).during(Stage::Connect)
}

/// A VM's directory and record.
fn find(layout: &Layout, name: &VmName) -> Result<(Utf8PathBuf, Record), Error> {
    let run_dir = layout.runs().join(name.as_str());
    let record = Record::read(layout, &run_dir).map_err(io::Error::other);
    let record = record.during(Stage::Connect)?;
    let record = record.ok_or_else(|| Cause::NoSuchVm(name.clone()).during(Stage::Connect))?;
    Ok((run_dir, record))
}

fn network_of(layout: &Layout, name: &VmName) -> Result<NetworkRecord, Error> {
    let (_, record) = find(layout, name)?;
    let network = record.meta.network.ok_or_else(|| NetworkError::NoNetwork(name.clone()));
    network.during(Stage::Connect)
}

/// Stops a VM, attended or not, and removes all that was its own.
///
/// # Errors
/// Where there is no such VM or something of it cannot be removed.
pub async fn stop(layout: &Layout, name: &VmName) -> Result<(), Error> {
    let run_dir = layout.runs().join(name.as_str());
    if !run_dir.is_dir() {
        return Err(Cause::NoSuchVm(name.clone()).during(Stage::Teardown));
    }
    remains::kill(&run_dir).during(Stage::Teardown)?;
    // The process that attends it sees its VM end and clears up; without one, we do.
    let _lock = match FileLock::exclusive(&run_dir.join("lock")).await {
        Err(_) if !run_dir.is_dir() => return Ok(()),
        lock => lock.during(Stage::Teardown)?,
    };
    let _turn = FileLock::exclusive(&guard_path(layout)).await.during(Stage::Teardown)?;
    if run_dir.is_dir() {
        bury(layout, &run_dir).during(Stage::Teardown)?;
    }
    Ok(())
}
