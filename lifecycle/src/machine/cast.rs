//! Making a template: a guest is booted, warmed up, made quiet and frozen.
//!
//! ```text
//! boot ─► ready ─► warm ─► quiet ─► saved
//! ```
//!
//! The guest has no name, no disks but its root and no workspace, and when it is frozen nobody is
//! connected to it: what clones share is only what every guest of the shape has.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use camino::Utf8Path;
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;

use super::boot_set::{BootSet, RootDisk, root_size};
use super::engine::Engine;
use super::plan::Host;
use super::ready::{step, wait_for_systemd};
use super::slots::Slots;
use super::transfer::with_sftp;
use super::{Plan, identity};
use crate::agent::Batch;
use crate::error::{Cause, During as _, Error};
use crate::event::Stage;
use crate::exec::Channel;
use crate::network::Network;
use crate::overlay::{DiskFormat, qcow2, raw};
use crate::rundir::record::NetworkRecord;
use crate::rundir::{Layout, Record, RunDir};
use crate::spec::{Init, VmSpec, VmmKind};
use crate::template::{MEMORY, OVERLAY, ROOT, STATE, TemplateError};
use crate::vmm::firecracker::Home;
use crate::vmm::{Config, Memory, Vmm, VmmError};

/// How long the guest may take until nobody is connected.
const QUIET_SECONDS: u64 = 20;

/// What is waited for before a guest is frozen: work that every clone would repeat.
const SETTLED: &str = "while pidof resize2fs >/dev/null; do sleep 0.05; done";

/// Makes a template of the plan's shape in `made`, which becomes `place`.
pub(super) async fn cast(
    plan: &Plan,
    engine: &Engine,
    segment: &[u8],
    host: Host<'_>,
    made: &Utf8Path,
    place: &Utf8Path,
) -> Result<(), Error> {
    let layout = host.layout;
    let run_dir = RunDir::create(layout, None).await.during(Stage::Template)?;
    let mut record = noted(plan, engine, layout, &run_dir).during(Stage::Template)?;
    let _network = Network::of(&run_dir, &mut record).during(Stage::Template)?;
    let config = config(plan, engine, segment, host, made, &run_dir).await;
    let (mut config, mut root) = config.during(Stage::Template)?;
    config.namespace = record.meta.network.as_ref().map(NetworkRecord::namespace_path);
    let mut vmm = launch(record, &config, &run_dir).await?;
    vmm.watch(root.watch());
    let limit = Duration::from_millis(plan.spec.boot_timeout_ms);
    let outcome = async {
        vmm.ready(limit).await.during(Stage::Boot)?;
        let warming = warm(&mut vmm, plan.spec.init).await;
        // Open until all is saved: in clones, an agent whose other side had gone would look for another
        // only now and then.
        let _channel = warming.during(Stage::Connect)?;
        freeze(&mut vmm, plan, engine, made, place).await.during(Stage::Template)
    };
    match outcome.await {
        Ok(()) => {
            vmm.kill().await;
            Ok(())
        }
        Err(error) if is_out_of_room(&error.source) => {
            Err(TemplateError::NoRoom(made.to_owned()).into())
        }
        Err(error) => Err(Error { console: Some(vmm.console_tail()), ..error }),
    }
}

/// Writes down what the VM will have; none of a plan's own disks is in it.
pub(super) fn noted(
    plan: &Plan,
    engine: &Engine,
    layout: &Layout,
    run_dir: &RunDir,
) -> Result<Record, Cause> {
    let mut record = plan.record(layout, run_dir, engine);
    record.meta.owns.clear();
    record.write(run_dir.path())?;
    Ok(record)
}

/// Writes down what is to be started, and starts it.
pub(super) async fn launch(
    mut record: Record,
    config: &Config,
    run_dir: &RunDir,
) -> Result<Vmm, Error> {
    record.config = config.record();
    record.write(run_dir.path()).during(Stage::Template)?;
    Vmm::launch(config, run_dir.path(), false).await.during(Stage::Boot)
}

/// Whether the VMM died of writing to memory that its file had no room for.
fn is_out_of_room(cause: &Cause) -> bool {
    let bus_error = Some(rustix::process::Signal::BUS.as_raw());
    matches!(cause, Cause::Vmm(VmmError::Ended { status, .. }) if status.signal() == bus_error)
}

/// The VM: of the plan's shape, with nothing in its slots.
async fn config(
    plan: &Plan,
    engine: &Engine,
    segment: &[u8],
    host: Host<'_>,
    made: &Utf8Path,
    run_dir: &RunDir,
) -> Result<(Config, RootDisk), Cause> {
    let set = BootSet::make(&plan.boot, &plan.spec, engine, segment, run_dir, made).await?;
    let memory = made.join(MEMORY);
    // Only its owner may read it; QEMU would leave that to the umask.
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&memory)?;
    if engine.vmm == VmmKind::Qemu {
        file.set_len(u64::from(plan.spec.ram.get()) << 20)?;
    }
    let size = plan.spec.workspace_size.bytes();
    let slots = Slots { layers: &[], sources: None, build: None, size, vmm: engine.vmm };
    // No command of a user's runs in it: it needs no jail.
    let mut home = Home::open(run_dir.path());
    let disks = slots.disks(&set.root.path, host.layout, &mut home).await?;
    // Limits are of single VMs.
    let spec = VmSpec { disk_rate: None, net_rate: None, ..plan.spec.clone() };
    Ok((set.config(run_dir, &spec, engine, home, disks, Memory::Kept(memory)), set.root))
}

/// Does what a first user of the guest would do, so that clones find it in memory.
async fn warm(vmm: &mut Vmm, init: Init) -> Result<Channel, Cause> {
    let channel = Channel::over(vmm.commands().await?);
    let warming = async {
        if init == Init::Systemd {
            wait_for_systemd(&channel).await?;
        }
        step(&channel, "waiting for the root disk to grow", SETTLED.to_owned()).await?;
        step(&channel, "starting a program", "exec /bin/true".to_owned()).await?;
        with_sftp(&channel, async |_| Ok(())).await
    };
    vmm.attend(warming).await?;
    Ok(channel)
}

/// Waits until nobody is connected, and saves all there is.
pub(super) async fn freeze(
    vmm: &mut Vmm,
    plan: &Plan,
    engine: &Engine,
    made: &Utf8Path,
    place: &Utf8Path,
) -> Result<(), Cause> {
    let quiet = Batch::new().settle(QUIET_SECONDS).then(&identity::hold());
    let limit = Duration::from_secs(QUIET_SECONDS + 10);
    vmm.perform("making the guest quiet", &quiet, limit).await?;
    vmm.save(&made.join(STATE)).await?;
    match engine.disk_format() {
        DiskFormat::Qcow2 => {
            let size = root_size(&plan.boot, &plan.spec)?;
            qcow2::create_ahead(&made.join(OVERLAY), &place.join(ROOT), size).await?;
        }
        // Most of memory was never used; where the root disk grew, its inode tables are zeros.
        DiskFormat::Raw => {
            raw::dig_holes(&made.join(MEMORY)).await?;
            raw::dig_holes(&made.join(engine.root_disk())).await?;
        }
    }
    Ok(())
}
