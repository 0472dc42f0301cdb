//! Packs the tar into an ext4 image without root: the tree is unpacked into memory, in namespaces
//! that end with the process.

use camino::Utf8Path;
use fs_err as fs;

use super::Log;
use super::rights::Rights;
use crate::image::error::ImageError;
use crate::image::tarball::Tarball;
use crate::process::{ToolError, run_tool_held};

const SCRIPT: &str = include_str!("filesystem.sh");
const MIB: u64 = 1 << 20;
/// Free space in a new image: enough to boot before the guest enlarges the filesystem.
const SLACK: u64 = 128 * MIB;
const BYTES_PER_INODE: u64 = 16 * 1024;
const SPARE_INODES: u64 = 16 * 1024;

/// Makes the ext4 image at `image` from the whole tar.
pub(super) async fn make(
    tar: &Tarball,
    image: &Utf8Path,
    rights: Rights,
    log: &Log,
) -> Result<(), ImageError> {
    let tree = image.with_file_name("tree");
    fs::create_dir_all(&tree).map_err(ImageError::io("prepare the build"))?;
    let sizes = Sizes::of(tar.unpacked_size(), tar.count());
    let variables = [("LC_ALL", "C.UTF-8"), ("LANGUAGE", "")];
    let mut command = rights.command("unshare", &variables, image);
    command.args(namespaces(rights.is_root())).args(["--", "sh", "-c", SCRIPT, "filesystem.sh"]);
    command.args([tree.as_str(), &sizes.memory.to_string(), &sizes.memory_inodes.to_string()]);
    command.args([tar.path().as_str(), image.as_str(), &sizes.image_kib.to_string()]);
    log.line("packing the root filesystem")?;
    if let Err(error) = run_tool_held(&mut command).await {
        log.line(&error.to_string())?;
        return Err(failure(error, rights.is_root(), log));
    }
    fs::remove_dir(&tree).map_err(ImageError::io("clean up after the build"))
}

/// How large things are to be.
#[derive(Debug, PartialEq, Eq)]
struct Sizes {
    memory: u64,
    memory_inodes: u64,
    image_kib: u64,
}

impl Sizes {
    fn of(used: u64, count: u64) -> Self {
        // Inode tables take a sixty-fourth of the image; the rest is bitmaps and descriptors.
        let for_data = used + used / 16 + SLACK;
        let for_inodes = (count + SPARE_INODES) * BYTES_PER_INODE;
        let image = for_data.max(for_inodes).next_multiple_of(MIB);
        Self { memory: used + 64 * MIB, memory_inodes: count + 1024, image_kib: image / 1024 }
    }
}

fn namespaces(privileged: bool) -> &'static [&'static str] {
    if privileged {
        &["--mount", "--propagation=unchanged"]
    } else {
        &["--user", "--map-root-user", "--map-auto", "--mount", "--propagation=unchanged"]
    }
}

fn failure(error: ToolError, privileged: bool, log: &Log) -> ImageError {
    let said = error.to_string();
    if said.contains("No space left on device") {
        return ImageError::NoSpace { log: log.path.clone() };
    }
    // Before the tree is mounted only rights can be missing.
    let denied = ["unshare:", "newuidmap", "newgidmap", "mount:"];
    if !privileged && denied.iter().any(|needle| said.contains(needle)) {
        return ImageError::Unprivileged { tail: said };
    }
    ImageError::Filesystem(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn failed(stderr: &str) -> ToolError {
        ToolError::Failed {
            program: "unshare".to_owned(),
            status: std::process::ExitStatus::from_raw(256),
            stderr: stderr.to_owned(),
        }
    }

    #[test]
    fn an_image_has_room_for_data_and_inodes() {
        let sizes = Sizes::of(600 * MIB, 40_000);
        assert!(sizes.image_kib * 1024 >= 600 * MIB + SLACK);
        assert!(sizes.image_kib * 1024 / BYTES_PER_INODE >= 40_000 + SPARE_INODES);
        let many = Sizes::of(100 * MIB, 200_000);
        assert!(many.image_kib * 1024 / BYTES_PER_INODE >= 200_000 + SPARE_INODES);
        assert_eq!(many.image_kib % 1024, 0);
    }

    #[test]
    fn failures_are_told_apart() {
        let log = Log { path: "/logs/x.log".into() };
        let full = failed("tar: x: Cannot write: No space left on device");
        assert!(matches!(failure(full, true, &log), ImageError::NoSpace { .. }));
        let denied = || failed("unshare: unshare failed: Operation not permitted");
        assert!(matches!(failure(denied(), false, &log), ImageError::Unprivileged { .. }));
        assert!(matches!(failure(denied(), true, &log), ImageError::Filesystem(_)));
    }
}
