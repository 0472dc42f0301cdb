//! dm-snapshot: a root disk that shares its base with every other VM and keeps what the guest
//! writes in a sparse file of its own, without a copy of anything.
//!
//! ```text
//! banger-<id>        snapshot   what the guest sees
//!   ├─ banger-<id>-base         linear: the base, read-only; then zero: room to grow
//!   │     └─ loop device
//!   └─ loop device              the copy-on-write file
//! ```
//!
//! The copy-on-write file is persistent: copied, it is the same disk again, which is how clones
//! come by their template's. It is as long as all that a guest can write, so that a full disk is
//! the guest's own "no space left"; if the host runs out of room first, the kernel invalidates the
//! snapshot, which [`Watch::lost`] tells.
//!
//! Devices are made by `dmsetup`, which knows how device nodes come to be on this host.

use std::ffi::OsStr;
use std::io;
use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

use super::loop_device::LoopDevice;
use super::{Access, OverlayError};
use crate::device_mapper::{self, Events};
use crate::process::{ToolError, find_program, run_tool, run_tool_here, system_program};
use crate::rundir::RunDir;

/// Bytes that are copied at the first write to any of them.
const CHUNK: u64 = 4096;

/// How many exceptions, of 16 bytes each, a chunk of the copy-on-write file lists
/// (Documentation/admin-guide/device-mapper/snapshot.rst, dm-snap-persistent.c).
const EXCEPTIONS: u64 = CHUNK / 16;

/// In which device-mapper counts.
const SECTOR: u64 = 512;

pub(super) const PROGRAM: &str = "dmsetup";

/// Whether this user can make them here.
pub(crate) fn is_available(path: Option<&OsStr>) -> bool {
    let opened = crate::host::storage::device_mapper(Utf8Path::new("/"));
    let loops = Utf8Path::new("/dev/loop-control").exists();
    opened.is_ok() && loops && find_program(PROGRAM, path).is_some()
}

/// The devices of a run, in the order in which they have to go.
pub(crate) fn devices(run: &str) -> Vec<String> {
    vec![format!("banger-{run}"), format!("banger-{run}-base")]
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
        fs::File::create_new(cow)?.set_len(cow_size(size))?;
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
        let [top, lower] = &this.devices[..] else { unreachable!("there are two") };
        let origin = LoopDevice::attach(base, Access::ReadOnly)?;
        let store = LoopDevice::attach(cow, Access::ReadWrite)?;
        let table = base_table(origin.path(), fs::metadata(base)?.len(), size);
        let made = create(run, lower, &table, Access::ReadOnly).and_then(|lower| {
            create(run, top, &snapshot_table(&lower, store.path(), size), Access::ReadWrite)
        });
        this.device =
            made.map_err(|source| OverlayError::Create { path: cow.to_owned(), source })?;
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

/// Makes a device, and finds its node.
fn create(run: &RunDir, name: &str, table: &str, access: Access) -> Result<Utf8PathBuf, ToolError> {
    let mut create = Command::new(system_program(PROGRAM));
    create.args(["create", name]);
    if access == Access::ReadOnly {
        create.arg("--readonly");
    }
    run_tool_here(run.held_by(&mut create), table)?;
    let gone = || io::Error::other(format!("{name} went as soon as it was made"));
    let node = device_mapper::node(name).and_then(|node| node.ok_or_else(gone));
    node.map_err(|source| ToolError::Start { program: PROGRAM.to_owned(), source })
}

/// A base of `length` bytes that goes on, as zeros, to `size`.
fn base_table(device: &Utf8Path, length: u64, size: u64) -> String {
    let (length, size) = (length / SECTOR, size / SECTOR);
    format!("0 {length} linear {device} 0\n{length} {} zero\n", size - length)
}

/// `P`: what is in the file is still there when the device is made again. `O`: the kernel says so
/// when the file is full.
fn snapshot_table(base: &Utf8Path, cow: &Utf8Path, size: u64) -> String {
    format!("0 {} snapshot {base} {cow} PO {}\n", size / SECTOR, CHUNK / SECTOR)
}

/// The length of a copy-on-write file that all of a disk fits in: a header, and a chunk of
/// exceptions before the chunks that it lists.
fn cow_size(size: u64) -> u64 {
    let chunks = size.div_ceil(CHUNK);
    (1 + chunks + chunks.div_ceil(EXCEPTIONS) + 1) * CHUNK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_count_in_sectors() {
        let base = base_table(Utf8Path::new("/dev/loop0"), 1 << 20, 3 << 20);
        assert_eq!(base, "0 2048 linear /dev/loop0 0\n2048 4096 zero\n");
        let (base, cow) = (Utf8Path::new("/dev/dm-0"), Utf8Path::new("/dev/loop1"));
        assert_eq!(
            snapshot_table(base, cow, 3 << 20),
            "0 6144 snapshot /dev/dm-0 /dev/loop1 PO 8\n"
        );
    }

    #[test]
    fn all_of_a_disk_fits_into_its_file() {
        // Header, one chunk of exceptions, the chunks; and one chunk for the end of the list.
        assert_eq!(cow_size(256 * CHUNK), (1 + 1 + 256 + 1) * CHUNK);
    }

    #[test]
    fn a_device_that_is_not_there_needs_no_removing() {
        remove(&devices("of-no-run")).unwrap();
    }
}
