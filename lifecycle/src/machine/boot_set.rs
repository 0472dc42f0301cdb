//! The files that one boot needs: kernel, initrd and a root disk of its own.

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use tokio::io::AsyncWriteExt as _;

use super::boot_files::{self, BootFiles};
use super::engine::Engine;
use crate::error::Cause;
use crate::overlay::qcow2::{self, Backing};
use crate::overlay::{DiskFormat, blank, raw};
use crate::rundir::RunDir;
use crate::spec::VmSpec;
use crate::template::{INITRD, OVERLAY, Template, VMLINUX};
use crate::vmm::{Config, Disk, Memory, clock};

/// Paths of files that are there.
#[derive(Clone, Debug)]
pub(super) struct BootSet {
    pub(super) kernel: Utf8PathBuf,
    pub(super) initrd: Utf8PathBuf,
    pub(super) root: Utf8PathBuf,
}

impl BootSet {
    /// Makes what a boot needs in a directory.
    pub(super) async fn make(
        boot: &BootFiles,
        spec: &VmSpec,
        engine: &Engine,
        segment: &[u8],
        dir: &Utf8Path,
    ) -> Result<Self, Cause> {
        let (rootfs, size) = (boot.rootfs(), root_size(boot, spec)?);
        let root = dir.join(engine.root_disk());
        match engine.disk_format() {
            DiskFormat::Qcow2 => qcow2::create(&root, &rootfs, Backing::Raw, Some(size)).await?,
            DiskFormat::Raw => raw::copy_larger(&rootfs, &root, size).await?,
        }
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

    /// Makes a clone's root disk in a directory; the rest is the template's.
    pub(super) async fn of_template(
        boot: &BootFiles,
        template: &Template,
        engine: &Engine,
        dir: &Utf8Path,
    ) -> Result<Self, Cause> {
        let root = dir.join(engine.root_disk());
        match engine.disk_format() {
            DiskFormat::Qcow2 => blank::copy(&template.file(OVERLAY), &root)?,
            DiskFormat::Raw => raw::copy(&template.file(engine.root_disk()), &root).await?,
        }
        let kernel = match boot.own_kernel() {
            Some(_) => template.file(VMLINUX),
            None => boot.image_kernel(),
        };
        Ok(Self { kernel, initrd: template.file(INITRD), root })
    }

    /// The VM that these files make up, with its disks and memory.
    pub(super) fn config(
        self,
        run_dir: &RunDir,
        spec: &VmSpec,
        engine: &Engine,
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
            kernel: self.kernel,
            initrd: self.initrd,
            console_log: run_dir.path().join("console.log"),
            disks,
            tsc_khz: boots.then(|| clock::told_at_boot(engine.accelerator)).flatten(),
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
