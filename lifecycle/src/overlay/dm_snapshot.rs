//! dm-snapshot: a root disk that shares its base with every other VM and keeps what the guest
//! writes in a sparse file of its own, without a copy of anything.
//!
//! ```text
//! banger-<id>        snapshot   what the guest sees
//!   ├─ banger-<id>-base         linear: the base, read-only; then zero: room to grow
//!   │     └─ loop device
//!   └─ banger-<id>-cow          linear: the copy-on-write file, but for its ends
//!         └─ loop device
//! ```
//!
//! Our devices are made so that [udev leaves them alone](crate::device_mapper). It does look at loop
//! devices, and for a guest it is easy to have what it likes at any place of the copy-on-write file, such
//! as the label of one of the host's own filesystems. So the file has empty ends, which are all that
//! anybody looks at who wants to know what a disk holds.
//!
//! The copy-on-write file is persistent: copied, it is the same disk again, which is how clones
//! come by their template's. It is as long as all that a guest can write, so that a full disk is
//! the guest's own "no space left"; if the host runs out of room first, the kernel invalidates the
//! snapshot, which [`Watch::lost`] tells.
//!
//! Devices are removed by `dmsetup`, which knows how device nodes come to be on this host.

use std::ffi::OsStr;
use std::io;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;

use super::loop_device::LoopDevice;
use super::{Access, OverlayError};
use crate::device_mapper::{self, Events, Target};
use crate::process::{find_program, run_tool, run_tool_here, system_program};
use crate::rundir::RunDir;

/// Bytes that are copied at the first write to any of them.
const CHUNK: u64 = 4096;

/// How many exceptions, of 16 bytes each, a chunk of the copy-on-write file lists
/// (Documentation/admin-guide/device-mapper/snapshot.rst, dm-snap-persistent.c).
const EXCEPTIONS: u64 = CHUNK / 16;

/// In which device-mapper counts.
const SECTOR: u64 = 512;

/// How long the empty ends of a copy-on-write file are, in bytes: no filesystem, volume or partition
/// table has its mark farther from either end of a disk (util-linux's libblkid knows of 2 MiB).
const MARGIN: u64 = 4 << 20;

const PROGRAM: &str = "dmsetup";

/// Whether this user can make them here.
pub(crate) fn is_available(path: Option<&OsStr>) -> bool {
    let opened = crate::host::storage::device_mapper(Utf8Path::new("/"));
    let loops = Utf8Path::new("/dev/loop-control").exists();
    opened.is_ok() && loops && find_program(PROGRAM, path).is_some()
}

/// The devices of a run, in the order in which they have to go.
pub(crate) fn devices(run: &str) -> Vec<String> {
    ["", "-base", "-cow"].map(|part| format!("banger-{run}{part}")).into()
}

/// A VM's root disk. Dropping it removes the devices and leaves the copy-on-write file.
#[must_use = "dropping the snapshot removes its devices"]
#[derive(Debug)]
pub(crate) struct Snapshot {
    devices: Vec<String>,
    /// The block device of the first.
    device: Utf8PathBuf,
    watch: Option<Watch>,
}

/// What tells when a snapshot is lost.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The snapshot's device.
    device: String,
    /// What has happened since before it was made.
    events: Events,
    /// Whether something has that was not looked into.
    doubt: bool,
}

impl Watch {
    /// Resolves when the kernel has given the snapshot up, as the host had no room for what the guest
    /// wrote. May be dropped and called again.
    pub(crate) async fn lost(&mut self) {
        loop {
            if !self.doubt
                && let Err(error) = self.events.next().await
            {
                tracing::debug!(%error, "device-mapper tells nothing any more");
                return std::future::pending().await;
            }
            self.doubt = true;
            let mut status = tokio::process::Command::new(system_program(PROGRAM));
            let text = run_tool(status.args(["status", &self.device])).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            if ["Invalid", "Overflow"].iter().any(|word| text.contains(word)) {
                return;
            }
            self.doubt = false;
        }
    }
}

impl Snapshot {
    /// Makes the disk of a run over a base, `size` bytes long, with a new copy-on-write file.
    pub(crate) fn create(
        run: &RunDir,
        base: &Utf8Path,
        cow: &Utf8Path,
        size: u64,
    ) -> Result<Self, OverlayError> {
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(cow)?;
        file.set_len(cow_size(size))?;
        Self::open(run, base, cow, size)
    }

    /// Makes the disk of a run over a base, with what a copy-on-write file holds.
    pub(crate) fn open(
        run: &RunDir,
        base: &Utf8Path,
        cow: &Utf8Path,
        size: u64,
    ) -> Result<Self, OverlayError> {
        let events = Events::listen()?;
        let devices = devices(&run.handle());
        let watch = Some(Watch { device: devices[0].clone(), events, doubt: false });
        let mut this = Self { devices, device: Utf8PathBuf::new(), watch };
        let [top, lower, store] = &this.devices[..] else { unreachable!("there are three") };
        let origin = LoopDevice::attach(base, Access::ReadOnly)?;
        let file = LoopDevice::attach(cow, Access::ReadWrite)?;
        let lower =
            create(lower, &base_table(origin.path(), fs::metadata(base)?.len(), size), true)?;
        let store = create(store, &[store_table(file.path(), size)], false)?;
        this.device = create(top, &[snapshot_table(&lower, &store, size)], false)?;
        Ok(this)
    }

    /// The block device.
    pub(crate) fn device(&self) -> &Utf8Path {
        &self.device
    }

    /// What tells when it is lost, for whoever attends to the VM; it is there once.
    pub(crate) fn watch(&mut self) -> Option<Watch> {
        self.watch.take()
    }

    /// Leaves the devices to whoever finds them in the VM's record.
    pub(crate) fn leave(mut self) {
        self.devices.clear();
    }

    /// Removes the devices; nobody may have them open.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        remove(&std::mem::take(&mut self.devices))
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.devices) {
            tracing::warn!(%error, "a device stays");
        }
    }
}

/// Removes devices, those of them that are there, in order; waits for who is about to close one.
pub(crate) fn remove(devices: &[String]) -> io::Result<()> {
    for device in devices {
        if device_mapper::node(device)?.is_none() {
            continue;
        }
        let mut remove = Command::new(system_program(PROGRAM));
        remove.args(["remove", "--retry", device]);
        match run_tool_here(&mut remove, "") {
            // Somebody who was killed may have had it removed just now.
            Err(error) if device_mapper::node(device)?.is_some() => {
                return Err(io::Error::other(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes a device, and returns its node.
fn create(name: &str, table: &[Target], read_only: bool) -> Result<Utf8PathBuf, OverlayError> {
    let failed = |source| OverlayError::Device { name: name.to_owned(), source };
    device_mapper::create(name, table, read_only).map_err(failed)
}

/// A base of `length` bytes that goes on, as zeros, to `size`.
fn base_table(device: &Utf8Path, length: u64, size: u64) -> [Target; 2] {
    let (start, size) = (length / SECTOR, size / SECTOR);
    let arguments = format!("{device} 0");
    [
        Target { start: 0, length: start, kind: "linear", arguments },
        Target { start, length: size - start, kind: "zero", arguments: String::new() },
    ]
}

/// The part of a copy-on-write file between its ends.
fn store_table(file: &Utf8Path, size: u64) -> Target {
    let arguments = format!("{file} {}", MARGIN / SECTOR);
    Target { start: 0, length: store_size(size) / SECTOR, kind: "linear", arguments }
}

/// `P`: what is in the file is still there when the device is made again. `O`: the kernel says so
/// when the file is full.
fn snapshot_table(base: &Utf8Path, store: &Utf8Path, size: u64) -> Target {
    let arguments = format!("{base} {store} PO {}", CHUNK / SECTOR);
    Target { start: 0, length: size / SECTOR, kind: "snapshot", arguments }
}

/// How much room it takes to keep all of a disk that is written to: a header, and a chunk of exceptions
/// before the chunks that it lists.
fn store_size(size: u64) -> u64 {
    let chunks = size.div_ceil(CHUNK);
    (1 + chunks + chunks.div_ceil(EXCEPTIONS) + 1) * CHUNK
}

/// The length of the file for that.
fn cow_size(size: u64) -> u64 {
    MARGIN + store_size(size) + MARGIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_count_in_sectors() {
        let text = |Target { start, length, kind, arguments }: Target| {
            format!("{start} {length} {kind} {arguments}")
        };
        let base = base_table(Utf8Path::new("/dev/loop0"), 1 << 20, 3 << 20).map(text);
        assert_eq!(base, ["0 2048 linear /dev/loop0 0", "2048 4096 zero "]);
        let (base, store) = (Utf8Path::new("/dev/dm-0"), Utf8Path::new("/dev/dm-1"));
        let top = text(snapshot_table(base, store, 3 << 20));
        assert_eq!(top, "0 6144 snapshot /dev/dm-0 /dev/dm-1 PO 8");
        let between = text(store_table(Utf8Path::new("/dev/loop1"), 3 << 20));
        assert_eq!(between, format!("0 {} linear /dev/loop1 8192", (1 + 768 + 3 + 1) * 8));
        assert_eq!(cow_size(3 << 20), (4 << 20) + (1 + 768 + 3 + 1) * CHUNK + (4 << 20));
    }

    #[test]
    fn all_of_a_disk_fits_into_its_file() {
        // Header, one chunk of exceptions, the chunks; and one chunk for the end of the list.
        assert_eq!(store_size(256 * CHUNK), (1 + 1 + 256 + 1) * CHUNK);
    }

    #[test]
    fn a_device_that_is_not_there_needs_no_removing() {
        remove(&devices("of-no-run")).unwrap();
    }
}
