//! The disks of a VM beside its root: a fixed set of slots, so that all VMs of one shape have the
//! same devices, whatever is in them.
//!
//! | slot | holds | the guest mounts it at |
//! |---|---|---|
//! | `toolchain` | the toolchain layer | the layer's own place |
//! | `dependencies` | the dependency layer | the layer's own place |
//! | `programs` | the programs layer | the layer's own place |
//! | `sources` | the workspace's sources | [`SOURCES`] |
//! | `build` | what was built of them | [`BUILD`] |
//!
//! Those of layers are of one size, and so are the workspace's; an empty one is a blank disk.

use camino::{Utf8Path, Utf8PathBuf};

use crate::agent::Mount;
use crate::error::Cause;
use crate::layer::{Layer, LayerKind};
use crate::overlay::{Access, Part, WorkspaceDisks, blank, raw};
use crate::rundir::Layout;
use crate::spec::{VmSpec, VmmKind};
use crate::vmm::Disk;
use crate::vmm::firecracker::{Home, disk_device, disk_name};

/// Where the guest mounts the workspace's disks.
pub(super) const SOURCES: &str = "/run/banger/work";
pub(super) const BUILD: &str = "/run/banger/build";

/// The slots of layers, in their order; the workspace's come last.
const LAYERS: [LayerKind; 3] = [LayerKind::Toolchain, LayerKind::Dependencies, LayerKind::Programs];

/// What is in the slots.
#[derive(Debug)]
pub(super) struct Slots<'a> {
    pub(super) layers: &'a [&'a Layer],
    /// The tops of the workspace's disks.
    pub(super) sources: Option<&'a Utf8Path>,
    pub(super) build: Option<&'a Utf8Path>,
    /// How large those are, in bytes.
    pub(super) size: u64,
    /// Whose VM has them.
    pub(super) vmm: VmmKind,
}

/// The serial number of the slot of a workspace's disk.
pub(super) const fn serial_of(part: Part) -> &'static str {
    match part {
        Part::Sources => "sources",
        Part::Build => "build",
    }
}

impl<'a> Slots<'a> {
    /// Those of a run's VM.
    pub(super) fn of(
        layers: &'a [&'a Layer],
        disks: Option<&'a WorkspaceDisks>,
        spec: &VmSpec,
        vmm: VmmKind,
    ) -> Self {
        let top = |part| Some(disks?.get(part)?.top());
        let (sources, build) = (top(Part::Sources), top(Part::Build));
        Self { layers, sources, build, size: spec.workspace_size.bytes(), vmm }
    }
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
        let mut disks: Vec<_> = [root].into_iter().chain(layers).collect();
        for part in Part::ALL {
            let (serial, blank) = (serial_of(part), blank::of_size(layout, self.size).await?);
            let path = match self.top(part) {
                Some(top) => top.to_owned(),
                None => empty_disk(&blank, home.dir(), serial)?,
            };
            disks.push(Disk { serial, path, base: None, read_only: false });
        }
        Ok(disks)
    }

    /// The same as raw files, under the names by which Firecracker knows them where it runs.
    pub(super) fn raw_disks(&self, root: &Utf8Path, home: &mut Home) -> Result<Vec<Disk>, Cause> {
        let layer = |kind| (serial(kind), self.layer(kind).map(Layer::image), true);
        let all = [("root", Some(root), false)].into_iter().chain(LAYERS.map(layer));
        let all = all.chain(Part::ALL.map(|part| (serial_of(part), self.top(part), false)));
        let mut disks = Vec::new();
        for (serial, file, read_only) in all {
            let (name, path) = (disk_name(serial), home.dir().join(disk_name(serial)));
            let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
            match file {
                Some(file) if file == path => {}
                Some(file) => home.place(file, &name, access)?,
                None => {
                    let size = if read_only { blank::SIZE } else { self.size };
                    raw::zeros(&path, size)?;
                    home.hand_over(&name)?;
                }
            }
            disks.push(Disk { serial, path, base: None, read_only });
        }
        Ok(disks)
    }

    /// The device of a slot, where the guest sees no serial numbers: the root disk is before them.
    fn device(&self, serial: &str) -> Option<String> {
        let mut slots = LAYERS.map(self::serial).into_iter().chain(Part::ALL.map(serial_of));
        let number = slots.position(|slot| slot == serial)? + 1;
        (self.vmm == VmmKind::Firecracker).then(|| disk_device(number))
    }

    /// What the guest has to mount before the workspace is synced.
    pub(super) fn mounts(&self) -> Vec<Mount> {
        let layers = self.layers.iter().map(|layer| Mount {
            serial: serial(layer.id().kind),
            device: self.device(serial(layer.id().kind)),
            filesystem: "erofs",
            options: "ro,noatime",
            path: layer.mount_point().to_owned(),
        });
        let sources = self.sources.map(|_| self.workspace_mount(Part::Sources, SOURCES));
        layers.chain(sources).collect()
    }

    /// What it has to mount once nothing that is there can harm the sources any more.
    pub(super) fn build_mount(&self) -> Option<Mount> {
        self.build.map(|_| self.workspace_mount(Part::Build, BUILD))
    }

    /// Whatever a command has written to the disk, an error in the filesystem is none of the kernel's.
    fn workspace_mount(&self, part: Part, path: &str) -> Mount {
        Mount {
            serial: serial_of(part),
            device: self.device(serial_of(part)),
            filesystem: "ext4",
            options: "rw,noatime,noinit_itable,errors=continue",
            path: path.into(),
        }
    }

    fn top(&self, part: Part) -> Option<&Utf8Path> {
        match part {
            Part::Sources => self.sources,
            Part::Build => self.build,
        }
    }

    fn layer(&self, kind: LayerKind) -> Option<&Layer> {
        self.layers.iter().copied().find(|layer| layer.id().kind == kind)
    }
}

fn empty_disk(blank: &Utf8Path, dir: &Utf8Path, serial: &str) -> Result<Utf8PathBuf, Cause> {
    let path = dir.join(format!("{serial}.qcow2"));
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
