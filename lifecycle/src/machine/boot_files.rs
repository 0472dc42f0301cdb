//! What a VM boots from: an image's files, or the user's own in their place.

use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::image::{Image, ImageError};
use crate::input_file::{self, Links};
use crate::program::GlibcVersion;
use crate::rundir::KeyHasher;

/// Offset and value of the ext4 superblock's magic number (Linux Documentation/filesystems/ext4).
const EXT4_MAGIC: (usize, [u8; 2]) = (0x438, [0x53, 0xef]);

/// Root disk, kernel and initrd of a VM. Holds the image, if one is used, against removal.
#[derive(Debug)]
pub struct BootFiles {
    rootfs: Option<Utf8PathBuf>,
    kernel: Option<Utf8PathBuf>,
    initrd: Option<Utf8PathBuf>,
    image: Option<Image>,
}

/// A file of the user's own that a VM cannot boot from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootFileError {
    /// It cannot be read.
    #[error("cannot read the {what}")]
    Unreadable {
        /// `rootfs`, `kernel` or `initrd`.
        what: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is something else.
    #[error("`{path}` is not a {what}: expected {expected}")]
    Malformed {
        /// The file.
        path: Utf8PathBuf,
        /// `rootfs`, `kernel` or `initrd`.
        what: &'static str,
        /// The accepted form.
        expected: &'static str,
    },
}

impl BootFiles {
    /// Boots from an image.
    #[must_use]
    pub fn image(image: Image) -> Self {
        Self { rootfs: None, kernel: None, initrd: None, image: Some(image) }
    }

    /// Boots from the user's own files, and from `image` for those that are not given.
    #[must_use]
    pub fn custom(
        rootfs: Option<Utf8PathBuf>,
        kernel: Option<Utf8PathBuf>,
        initrd: Option<Utf8PathBuf>,
        image: Option<Image>,
    ) -> Self {
        Self { rootfs, kernel, initrd, image }
    }

    /// Looks at the user's own files, so that a wrong one is named before an image is built.
    ///
    /// # Errors
    /// Where one cannot be read or is not what it should be.
    pub fn check(
        rootfs: Option<&Utf8Path>,
        kernel: Option<&Utf8Path>,
        initrd: Option<&Utf8Path>,
    ) -> Result<(), BootFileError> {
        if let Some(path) = rootfs {
            let start = read_start(path, "rootfs")?;
            let (offset, magic) = EXT4_MAGIC;
            if start.get(offset..offset + 2) != Some(&magic) {
                let expected = "a raw disk image holding an ext4 filesystem, without partitions";
                return Err(BootFileError::Malformed {
                    path: path.to_owned(),
                    what: "rootfs",
                    expected,
                });
            }
        }
        if let Some(path) = kernel {
            let start = read_start(path, "kernel")?;
            let bzimage = start.get(0x202..0x206) == Some(b"HdrS");
            if !start.starts_with(b"\x7fELF") && !bzimage {
                let expected = "an ELF vmlinux or a bzImage";
                return Err(BootFileError::Malformed {
                    path: path.to_owned(),
                    what: "kernel",
                    expected,
                });
            }
        }
        if let Some(path) = initrd {
            read_start(path, "initrd")?;
        }
        Ok(())
    }

    /// The root disk, never written.
    pub(crate) fn rootfs(&self) -> Utf8PathBuf {
        self.pick(self.rootfs.as_ref(), Image::rootfs)
    }

    /// The kernel as the user gave it, where they did.
    pub(crate) fn own_kernel(&self) -> Option<&Utf8Path> {
        self.kernel.as_deref()
    }

    /// The ELF kernel of the image.
    pub(crate) fn image_kernel(&self) -> Utf8PathBuf {
        self.pick(None, Image::vmlinux)
    }

    /// The initrd to which the VM's own segment is appended.
    pub(crate) fn initrd(&self) -> Utf8PathBuf {
        self.pick(self.initrd.as_ref(), Image::initrd)
    }

    /// The image's digest, where its root filesystem is used.
    pub(crate) fn digest(&self) -> Option<String> {
        let image = self.image.as_ref().filter(|_| self.rootfs.is_none())?;
        Some(image.digest().to_string())
    }

    /// The digest of the image that any of it is from.
    pub(crate) fn image_digest(&self) -> Option<String> {
        self.image.as_ref().map(|image| image.digest().to_string())
    }

    /// The guest's glibc, where the image tells.
    #[must_use]
    pub fn glibc(&self) -> Option<GlibcVersion> {
        let image = self.image.as_ref().filter(|_| self.rootfs.is_none())?;
        GlibcVersion::of_package(image.manifest().installed.get("libc6")?)
    }

    /// Adds to a template's key what is booted.
    pub(crate) fn identify(&self, key: &mut KeyHasher) -> std::io::Result<()> {
        if let Some(image) = &self.image {
            key.field("image", image.digest().to_string());
        }
        let own = [("rootfs", &self.rootfs), ("kernel", &self.kernel), ("initrd", &self.initrd)];
        for (name, path) in own {
            if let Some(path) = path {
                key.file(name, path)?;
            }
        }
        Ok(())
    }

    /// For people.
    pub(crate) fn describe(&self) -> String {
        match (&self.rootfs, &self.image) {
            (Some(rootfs), _) => rootfs.to_string(),
            (None, Some(image)) => format!("image {}", image.digest().short()),
            (None, None) => String::new(),
        }
    }

    fn pick(
        &self,
        own: Option<&Utf8PathBuf>,
        of_image: impl Fn(&Image) -> Utf8PathBuf,
    ) -> Utf8PathBuf {
        own.cloned().unwrap_or_else(|| {
            of_image(self.image.as_ref().expect("an image stands in for each file not given"))
        })
    }
}

/// Reads a user's own kernel as an ELF.
pub(crate) fn elf_kernel(path: &Utf8Path) -> Result<Vec<u8>, ImageError> {
    Ok(crate::image::kernel::read_kernel(path)?)
}

/// The first 4 KiB of a file.
fn read_start(path: &Utf8Path, what: &'static str) -> Result<Vec<u8>, BootFileError> {
    let unreadable = |source| BootFileError::Unreadable { what, source };
    let mut start = Vec::new();
    let file = match what {
        // It may be a partition.
        "rootfs" => input_file::open_disk(path.as_std_path()),
        _ => input_file::open(path.as_std_path(), Links::Follow),
    };
    let file = file.map_err(unreadable)?;
    file.take(4096).read_to_end(&mut start).map_err(unreadable)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    #[test]
    fn wrong_files_are_named_with_the_accepted_form() {
        let dir = tempfile::tempdir().unwrap();
        let text = Utf8Path::from_path(dir.path()).unwrap().join("text");
        fs::write(&text, "hello").unwrap();
        let error = BootFiles::check(Some(&text), None, None).unwrap_err().to_string();
        assert!(error.contains("text") && error.contains("ext4"), "{error}");
        let error = BootFiles::check(None, Some(&text), None).unwrap_err().to_string();
        assert!(error.contains("bzImage"), "{error}");
        let missing = Utf8Path::new("/no/such");
        let error = BootFiles::check(None, None, Some(missing)).unwrap_err();
        assert_eq!(error.to_string(), "cannot read the initrd");
    }
}
