//! An image in use. Holding one keeps it from being removed; it is only ever read.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use super::error::ImageError;
use super::manifest::{Digest, Manifest, ManifestError};
use super::store::seal;
use crate::rundir::{BootId, FileLock, content};

/// The root filesystem's name in an image's directory.
pub const ROOTFS: &str = "rootfs.ext4";
/// The ELF kernel's name.
pub const VMLINUX: &str = "vmlinux";
/// The name of the kernel as the distribution packs it.
pub const BZIMAGE: &str = "bzimage";
/// The initrd's name.
pub const INITRD: &str = "initrd.cpio";
/// The name of the file whose lock users share.
pub(super) const LOCK: &str = "lock";

/// A stored image, whole when it was opened. Dropping it lets others remove it.
#[derive(Debug)]
#[must_use = "the image can be removed by others when this is dropped"]
pub struct Image {
    manifest: Manifest,
    directory: Utf8PathBuf,
    _lock: FileLock,
}

impl Image {
    /// Opens the image in `directory` and shares its lock. Its content is looked at once in each boot of
    /// the host, after `checking` is called.
    ///
    /// # Errors
    /// [`ImageError::NotFound`] where there is none of this format, [`ImageError::Damaged`] where a file is
    /// missing, or of another size or content than it was built.
    pub(super) async fn open(
        directory: &Utf8Path,
        digest: &Digest,
        boot: &BootId,
        checking: impl FnOnce(),
    ) -> Result<Self, ImageError> {
        let path = directory.join(LOCK);
        if !directory.is_dir() {
            return Err(ImageError::NotFound(digest.to_string()));
        }
        let lock = FileLock::shared(&path).await.map_err(|error| not_found_or(error, digest))?;
        // Whoever removes an image moves its directory away under the lock: we may have waited
        // for a lock that is no longer this image's.
        if !lock.is_current() {
            return Err(ImageError::NotFound(digest.to_string()));
        }
        let damaged = |reason| ImageError::Damaged { digest: digest.short().to_owned(), reason };
        let manifest = Manifest::read(directory).map_err(|error| match error {
            // Another version's image is none of ours to use, mend or remove.
            ManifestError::Format(_) => ImageError::NotFound(digest.to_string()),
            ManifestError::Broken(reason) => damaged(reason),
        })?;
        manifest.check_files(directory).map_err(damaged)?;
        if manifest.digest != *digest {
            return Err(damaged("it is another image".to_owned()));
        }
        let (files, expected) = (directory.to_owned(), manifest.clone());
        let damage = move || seal::damage(&files, &expected);
        let checked = content::check(directory, boot, checking, damage).await;
        if let Some(reason) = checked.map_err(ImageError::io("check the image"))? {
            return Err(damaged(reason));
        }
        Ok(Self { manifest, directory: directory.to_owned(), _lock: lock })
    }

    /// The root filesystem: ext4, raw, to be put under an overlay.
    #[must_use]
    pub fn rootfs(&self) -> Utf8PathBuf {
        self.directory.join(ROOTFS)
    }

    /// The kernel as ELF.
    #[must_use]
    pub fn vmlinux(&self) -> Utf8PathBuf {
        self.directory.join(VMLINUX)
    }

    /// The same kernel as the distribution packs it.
    #[must_use]
    pub fn bzimage(&self) -> Utf8PathBuf {
        self.directory.join(BZIMAGE)
    }

    /// The initrd without `/init`: a cpio segment for another to be appended to.
    #[must_use]
    pub fn initrd(&self) -> Utf8PathBuf {
        self.directory.join(INITRD)
    }

    /// What the image is.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The image's name.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.manifest.digest
    }
}

fn not_found_or(error: io::Error, digest: &Digest) -> ImageError {
    match error.kind() {
        io::ErrorKind::NotFound => ImageError::NotFound(digest.to_string()),
        _ => ImageError::io("lock the image")(error),
    }
}
