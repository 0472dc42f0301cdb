//! A small ext4 filesystem, in a file, on a loop device, mounted.

use std::error::Error;
use std::fs::{DirBuilder, File};
use std::path::{Path, PathBuf};

use crate::tool::{run, run_quietly};

/// A mounted filesystem of its own. Dropping it unmounts it and frees its loop device.
#[derive(Debug)]
#[must_use = "dropping it unmounts the filesystem"]
pub struct ScratchFs {
    device: String,
    mount_point: PathBuf,
}

impl ScratchFs {
    /// Makes a filesystem of so many MiB in a file below `directory` and mounts it there.
    ///
    /// # Errors
    /// Where a step is refused: not root, no loop device left, no room.
    pub fn create(directory: &Path, mib: u64) -> Result<Self, Box<dyn Error>> {
        let (file, mount_point) = (directory.join("image"), directory.join("mounted"));
        DirBuilder::new().recursive(true).create(&mount_point)?;
        File::options().write(true).create_new(true).open(&file)?.set_len(mib << 20)?;
        let file = file.to_str().ok_or("the directory's name is not UTF-8")?;
        run(&["mkfs.ext4", "-q", "-m", "0", file])?;
        run(&["modprobe", "loop"])?;
        let device = run(&["losetup", "--find", "--show", file])?;
        // From here on a failure drops what there is.
        let this = Self { device, mount_point };
        run(&["mount", &this.device, &this.mount_point.to_string_lossy()])?;
        Ok(this)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Its loop device.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Lets nothing be written from now on.
    ///
    /// # Errors
    /// Where a file is open for writing.
    pub fn make_read_only(&self) -> Result<(), Box<dyn Error>> {
        run(&["mount", "-o", "remount,ro", &self.mount_point.to_string_lossy()])?;
        Ok(())
    }
}

impl Drop for ScratchFs {
    fn drop(&mut self) {
        run_quietly(&["umount", &self.mount_point.to_string_lossy()]);
        run_quietly(&["losetup", "--detach", &self.device]);
    }
}
