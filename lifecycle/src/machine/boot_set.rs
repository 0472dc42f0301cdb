//! What one boot needs: kernel, initrd and a root disk of its own.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use tokio::io::AsyncWriteExt as _;

use super::boot_files::{self, BootFiles};
use super::engine::Engine;
use crate::error::Cause;
use crate::overlay::dm_snapshot::{Snapshot, Watch};
use crate::overlay::qcow2::{self, Backing};
use crate::overlay::{RootOverlay, blank, raw};
use crate::rundir::RunDir;
use crate::spec::VmSpec;
use crate::template::{INITRD, OVERLAY, Template, VMLINUX};
use crate::vmm::firecracker::Home;
use crate::vmm::{CONSOLE, Config, Disk, Memory, clock};

/// Paths of files that are there.
#[derive(Debug)]
pub(super) struct BootSet {
    pub(super) kernel: Utf8PathBuf,
    pub(super) initrd: Utf8PathBuf,
    pub(super) root: RootDisk,
}

/// A root disk. Dropping it removes what it has outside its directory.
#[derive(Debug)]
pub(super) struct RootDisk {
    /// The file, or device, that the VMM opens.
    pub(super) path: Utf8PathBuf,
    /// What the device is, where it is one.
    pub(super) snapshot: Option<Snapshot>,
}

impl RootDisk {
    /// A file.
    pub(super) fn file(path: Utf8PathBuf) -> Self {
        Self { path, snapshot: None }
    }

    /// What tells when what the guest wrote is lost, as the host had no room for it; a VMM that keeps
    /// the disk in a file tells by itself.
    pub(super) fn watch(&mut self) -> Option<Watch> {
        self.snapshot.as_mut()?.watch()
    }
}

impl From<Snapshot> for RootDisk {
    fn from(snapshot: Snapshot) -> Self {
        Self { path: snapshot.device().to_owned(), snapshot: Some(snapshot) }
    }
}

impl BootSet {
    /// Makes what a boot needs in a directory, for the VM of a run.
    pub(super) async fn make(
        boot: &BootFiles,
        spec: &VmSpec,
        engine: &Engine,
        segment: &[u8],
        run: &RunDir,
        dir: &Utf8Path,
    ) -> Result<Self, Cause> {
        let (rootfs, size) = (boot.rootfs(), root_size(boot, spec)?);
        let file = dir.join(engine.root_disk());
        let root = match engine.root {
            RootOverlay::Qcow2 => {
                qcow2::create(&file, &rootfs, Backing::Raw, Some(size)).await?;
                RootDisk::file(file)
            }
            RootOverlay::Copy => {
                raw::copy_larger(&rootfs, &file, size).await?;
                RootDisk::file(file)
            }
            RootOverlay::Snapshot => Snapshot::create(run, &rootfs, &file, size)?.into(),
        };
        let initrd = dir.join(INITRD);
        write_initrd(&initrd, &boot.initrd(), segment).await?;
        let kernel = match boot.own_kernel() {
            Some(own) => {
                let kernel = dir.join(VMLINUX);
                fs::write(&kernel, boot_files::elf_kernel(own)?)?;
                kernel
            }
            None => boot.image_kernel(),
        };
        Ok(Self { kernel, initrd, root })
    }

    /// Makes a clone's root disk; the rest is the template's.
    pub(super) async fn of_template(
        boot: &BootFiles,
        spec: &VmSpec,
        template: &Template,
        engine: &Engine,
        run: &RunDir,
    ) -> Result<Self, Cause> {
        let file = run.path().join(engine.root_disk());
        let root = match engine.root {
            RootOverlay::Qcow2 => {
                blank::copy(&template.file(OVERLAY), &file)?;
                RootDisk::file(file)
            }
            RootOverlay::Copy => {
                raw::copy(&template.file(engine.root_disk()), &file).await?;
                RootDisk::file(file)
            }
            RootOverlay::Snapshot => {
                raw::copy(&template.file(engine.root_disk()), &file).await?;
                let (rootfs, size) = (boot.rootfs(), root_size(boot, spec)?);
                Snapshot::open(run, &rootfs, &file, size)?.into()
            }
        };
        let kernel = match boot.own_kernel() {
            Some(_) => template.file(VMLINUX),
            None => boot.image_kernel(),
        };
        Ok(Self { kernel, initrd: template.file(INITRD), root })
    }

    /// The VM that these files make up, with its disks and memory.
    pub(super) fn config(
        &self,
        run_dir: &RunDir,
        spec: &VmSpec,
        engine: &Engine,
        home: Home,
        disks: Vec<Disk>,
        memory: Memory,
    ) -> Config {
        // A clone has its clock from its template.
        let boots = !memory.is_restored();
        Config {
            name: run_dir.name().to_string(),
            vmm: engine.vmm,
            program: engine.program.clone(),
            accelerator: engine.accelerator,
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            console_log: run_dir.path().join(CONSOLE),
            disks,
            tsc_khz: boots.then(|| clock::told_at_boot(engine.accelerator)).flatten(),
            namespace: None,
            way: engine.way.clone(),
            home,
            state: None,
            spec: spec.clone(),
            memory,
        }
    }
}

/// The root disk's size as the guest sees it, in bytes.
pub(super) fn root_size(boot: &BootFiles, spec: &VmSpec) -> std::io::Result<u64> {
    Ok(fs::metadata(boot.rootfs())?.len() + spec.overlay_size.bytes())
}

/// The image's initrd and our own segment, one after the other.
async fn write_initrd(path: &Utf8Path, base: &Utf8Path, segment: &[u8]) -> Result<(), Cause> {
    let mut bytes = fs_err::tokio::read(base).await?;
    // The kernel looks for the next archive at a multiple of four.
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(segment);
    let mut options = fs_err::tokio::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path).await?;
    file.write_all(&bytes).await?;
    file.flush().await?;
    Ok(())
}
