//! The part of the initrd that an image brings: busybox, directories, kernel modules. There is no
//! `/init` in it: whoever boots appends a segment with one.

use std::collections::BTreeSet;

use super::compression::decompress_if_needed;
use super::cpio::Archive;
use super::error::ImageError;
use super::modules::{ModuleIndex, module_name};
use super::tarball::Tarball;

/// What finds the root disk; loaded before it is mounted, from `/modules/disk`.
pub const DISK_MODULES: [&str; 3] = ["virtio_mmio", "virtio_blk", "ext4"];
/// What a guest needs besides; loaded from `/modules/late`.
pub const LATE_MODULES: [&str; 7] = [
    "virtio_console",
    "virtio_net",
    "virtio-rng",
    "overlay",
    "erofs",
    "vmw_vsock_virtio_transport",
    "virtio_balloon",
];
const DIRECTORIES: [&str; 9] =
    ["bin", "dev", "modules", "modules/disk", "modules/late", "proc", "root", "seed", "sys"];

/// An image's initrd.
#[derive(Debug)]
pub struct Initrd {
    /// The cpio segment, not compressed.
    pub bytes: Vec<u8>,
    /// Modules that the kernel does not offer.
    pub missing: Vec<String>,
}

impl Initrd {
    /// Makes the initrd for one kernel of an image.
    ///
    /// # Errors
    /// Where the tar has no busybox or no module index, or a module does not unpack.
    pub fn build(tar: &Tarball, release: &str) -> Result<Self, ImageError> {
        let modules = modules_directory(tar, release)?;
        let index = |name: &str| -> Result<String, ImageError> {
            let bytes = read(tar, &format!("{modules}/{name}"))?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let index = ModuleIndex::parse(&index("modules.dep")?, &index("modules.builtin")?);
        let mut archive = Archive::new();
        for directory in DIRECTORIES {
            archive.dir(directory, 0o755);
        }
        archive.file("bin/busybox", 0o755, &busybox(tar)?);
        let (mut loaded, mut missing) = (BTreeSet::new(), Vec::new());
        for (directory, wanted) in [("disk", &DISK_MODULES[..]), ("late", &LATE_MODULES[..])] {
            let closure = index.closure(wanted, &mut loaded);
            for (number, path) in closure.ordered.iter().enumerate() {
                let name = format!("modules/{directory}/{number:02}-{}.ko", module_name(path));
                archive.file(&name, 0o644, &module(tar, &format!("{modules}/{path}"))?);
            }
            missing.extend(closure.missing);
        }
        Ok(Self { bytes: archive.finish(), missing })
    }
}

/// The newest kernel in the image: its release.
///
/// # Errors
/// Where there is none.
pub fn newest_kernel(tar: &Tarball) -> Result<String, ImageError> {
    let releases = tar.names_in("boot").filter_map(|name| name.strip_prefix("vmlinuz-"));
    let newest = releases.max_by_key(|release| numbers(release));
    newest.map(str::to_owned).ok_or_else(|| ImageError::Incomplete("/boot/vmlinuz-…".to_owned()))
}

pub(super) fn read(tar: &Tarball, name: &str) -> Result<Vec<u8>, ImageError> {
    tar.read(name)
        .map_err(ImageError::io("read the new image's tar"))?
        .ok_or_else(|| ImageError::Incomplete(format!("/{name}")))
}

fn busybox(tar: &Tarball) -> Result<Vec<u8>, ImageError> {
    read(tar, "usr/bin/busybox").or_else(|_| read(tar, "bin/busybox"))
}

fn modules_directory(tar: &Tarball, release: &str) -> Result<String, ImageError> {
    let candidates = ["usr/lib/modules", "lib/modules"].map(|dir| format!("{dir}/{release}"));
    let found = candidates.into_iter().find(|dir| tar.names_in(dir).any(|n| n == "modules.dep"));
    found.ok_or_else(|| ImageError::Incomplete(format!("/lib/modules/{release}/modules.dep")))
}

fn module(tar: &Tarball, path: &str) -> Result<Vec<u8>, ImageError> {
    let packed = read(tar, path)?;
    decompress_if_needed(packed)
        .map_err(|source| ImageError::Module { module: path.to_owned(), source })
}

/// The numbers in a release, for comparing `6.1.0-9` with `6.1.0-10`.
fn numbers(release: &str) -> Vec<u64> {
    let parts = release.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    parts.map(|part| part.parse().unwrap_or(u64::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::compression::Compression;
    use super::super::compression::testing::compress;
    use super::super::cpio::testing::read as read_cpio;
    use super::super::tarball::testing::tarball;
    use super::*;

    const DEP: &[u8] = b"\
kernel/virtio_mmio.ko: kernel/virtio.ko kernel/virtio_ring.ko
kernel/virtio.ko: kernel/virtio_ring.ko
kernel/virtio_ring.ko:
kernel/virtio_blk.ko.xz: kernel/virtio.ko kernel/virtio_ring.ko
kernel/overlay.ko:
kernel/virtio-rng.ko.zst: kernel/virtio.ko kernel/virtio_ring.ko
";

    #[test]
    fn the_initrd_holds_modules_in_order() {
        let xz = compress(Compression::Xz, b"\x7fELF blk");
        let zstd = compress(Compression::Zstd, b"\x7fELF rng");
        let (_dir, tar) = tarball(&[
            ("usr/bin/busybox", b"box"),
            ("usr/lib/modules/6.1.0-10/modules.dep", DEP),
            ("usr/lib/modules/6.1.0-10/modules.builtin", b"kernel/fs/ext4/ext4.ko\n"),
            ("usr/lib/modules/6.1.0-10/kernel/virtio_mmio.ko", b"mmio"),
            ("usr/lib/modules/6.1.0-10/kernel/virtio.ko", b"virtio"),
            ("usr/lib/modules/6.1.0-10/kernel/virtio_ring.ko", b"ring"),
            ("usr/lib/modules/6.1.0-10/kernel/virtio_blk.ko.xz", &xz),
            ("usr/lib/modules/6.1.0-10/kernel/overlay.ko", b"overlay"),
            ("usr/lib/modules/6.1.0-10/kernel/virtio-rng.ko.zst", &zstd),
        ]);
        let initrd = Initrd::build(&tar, "6.1.0-10").unwrap();
        let entries = read_cpio(&initrd.bytes);
        let files: Vec<&str> = entries
            .iter()
            .filter(|(_, mode, _)| mode & 0o100_000 != 0)
            .map(|(name, ..)| name.as_str())
            .collect();
        let expected = [
            "bin/busybox",
            "modules/disk/00-virtio_ring.ko",
            "modules/disk/01-virtio.ko",
            "modules/disk/02-virtio_mmio.ko",
            "modules/disk/03-virtio_blk.ko",
            "modules/late/00-virtio_rng.ko",
            "modules/late/01-overlay.ko",
        ];
        assert_eq!(files, expected);
        let content = |name: &str| &entries.iter().find(|entry| entry.0 == name).unwrap().2;
        assert_eq!(content("modules/disk/03-virtio_blk.ko"), b"\x7fELF blk");
        assert_eq!(content("modules/late/00-virtio_rng.ko"), b"\x7fELF rng");
        let missing = [
            "virtio_console",
            "virtio_net",
            "erofs",
            "vmw_vsock_virtio_transport",
            "virtio_balloon",
        ];
        assert_eq!(initrd.missing, missing);
    }

    #[test]
    fn the_newest_kernel_is_by_number() {
        let (_dir, tar) = tarball(&[
            ("boot/vmlinuz-6.1.0-9-cloud-amd64", b""),
            ("boot/vmlinuz-6.1.0-10-cloud-amd64", b""),
            ("boot/config-6.1.0-11-cloud-amd64", b""),
        ]);
        assert_eq!(newest_kernel(&tar).unwrap(), "6.1.0-10-cloud-amd64");
    }

    #[test]
    fn what_lacks_is_named() {
        let (_dir, tar) = tarball(&[("etc/hostname", b"x")]);
        assert!(newest_kernel(&tar).unwrap_err().to_string().contains("/boot/vmlinuz-"));
        let error = Initrd::build(&tar, "6.1").unwrap_err();
        assert!(error.to_string().contains("/lib/modules/6.1/modules.dep"), "{error}");
    }
}
