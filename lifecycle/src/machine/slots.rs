//! The disks of a VM beside its root: a fixed set of slots, so that all VMs of one shape have the
//! same devices, whatever is in them.
//!
//! | slot | holds | the guest mounts it at |
//! |---|---|---|
//! | `toolchain` | the toolchain layer | the layer's own place |
//! | `dependencies` | the dependency layer | the layer's own place |
//! | `programs` | the programs layer | the layer's own place |
//! | `work` | the workspace disk | [`WORK`] |
//!
//! All are of one size; an empty one is the blank disk.

use camino::{Utf8Path, Utf8PathBuf};

use crate::agent::Mount;
use crate::error::Cause;
use crate::layer::{Layer, LayerKind};
use crate::overlay::{Access, blank, raw};
use crate::rundir::Layout;
use crate::spec::VmmKind;
use crate::vmm::Disk;
use crate::vmm::firecracker::{Home, disk_device, disk_name};

/// Where the guest mounts the workspace disk.
pub(super) const WORK: &str = "/run/banger/work";

/// The serial number of the workspace disk's slot.
pub(super) const WORK_DISK: &str = "work";

/// The slots of layers, in their order; the workspace disk's comes last.
const LAYERS: [LayerKind; 3] = [LayerKind::Toolchain, LayerKind::Dependencies, LayerKind::Programs];

/// What is in the slots.
#[derive(Debug)]
pub(super) struct Slots<'a> {
    pub(super) layers: &'a [&'a Layer],
    /// The workspace disk's top.
    pub(super) workspace: Option<&'a Utf8Path>,
    /// Whose VM has them.
    pub(super) vmm: VmmKind,
}

impl Slots<'_> {
    /// Every disk of a VM: the root disk, then the slots. What is private to the VM and has no
    /// place yet is made where the VMM runs.
    pub(super) async fn disks(
        &self,
        root: &Utf8Path,
        layout: &Layout,
        home: &mut Home,
    ) -> Result<Vec<Disk>, Cause> {
        if self.vmm == VmmKind::Firecracker {
            return self.raw_disks(root, home);
        }
        let blank = blank::ensure(layout).await?;
        let root = Disk { serial: "root", path: root.to_owned(), base: None, read_only: false };
        let layer = |kind| Disk {
            serial: serial(kind),
            path: blank.to_owned(),
            base: self.layer(kind).map(|layer| layer.image().to_owned()),
            read_only: true,
        };
        let layers = LAYERS.map(layer);
        let work = match self.workspace {
            Some(top) => top.to_owned(),
            None => empty_work_disk(&blank, home.dir())?,
        };
        let work = Disk { serial: WORK_DISK, path: work, base: None, read_only: false };
        Ok([root].into_iter().chain(layers).chain([work]).collect())
    }

    /// The same as raw files, under the names by which Firecracker knows them where it runs.
    pub(super) fn raw_disks(&self, root: &Utf8Path, home: &mut Home) -> Result<Vec<Disk>, Cause> {
        let layer = |kind| (serial(kind), self.layer(kind).map(Layer::image), true);
        let all = [("root", Some(root), false)].into_iter().chain(LAYERS.map(layer));
        let all = all.chain([(WORK_DISK, self.workspace, false)]);
        let mut disks = Vec::new();
        for (serial, file, read_only) in all {
            let (name, path) = (disk_name(serial), home.dir().join(disk_name(serial)));
            let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
            match file {
                Some(file) if file == path => {}
                Some(file) => home.place(file, &name, access)?,
                None => {
                    raw::zeros(&path, blank::SIZE)?;
                    home.hand_over(&name)?;
                }
            }
            disks.push(Disk { serial, path, base: None, read_only });
        }
        Ok(disks)
    }

    /// The device of a slot, where the guest sees no serial numbers: the root disk is before them.
    fn device(&self, serial: &str) -> Option<String> {
        let mut slots = LAYERS.map(self::serial).into_iter().chain([WORK_DISK]);
        let number = slots.position(|slot| slot == serial)? + 1;
        (self.vmm == VmmKind::Firecracker).then(|| disk_device(number))
    }

    /// What the guest has to mount.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        let layers = self.layers.iter().map(|layer| Mount {
            serial: serial(layer.id().kind),
            device: self.device(serial(layer.id().kind)),
            filesystem: "erofs",
            options: "ro,noatime",
            path: layer.mount_point().to_owned(),
        });
        let work = self.workspace.map(|_| Mount {
            serial: WORK_DISK,
            device: self.device(WORK_DISK),
            filesystem: "ext4",
            options: "rw,noatime,noinit_itable",
            path: WORK.into(),
        });
        layers.chain(work).collect()
    }

    fn layer(&self, kind: LayerKind) -> Option<&Layer> {
        self.layers.iter().copied().find(|layer| layer.id().kind == kind)
    }
}

fn empty_work_disk(blank: &Utf8Path, dir: &Utf8Path) -> Result<Utf8PathBuf, Cause> {
    let path = dir.join("work.qcow2");
    blank::copy(blank, &path)?;
    Ok(path)
}

/// The serial number of a layer's slot.
pub(super) fn serial(kind: LayerKind) -> &'static str {
    match kind {
        LayerKind::Toolchain => "toolchain",
        LayerKind::Dependencies => "dependencies",
        LayerKind::Programs => "programs",
    }
}
