//! Room on the disk under the cache, and device-mapper.

use camino::Utf8Path;
use rustix::fs::{Access, Mode, OFlags};
use rustix::io::Errno;

use super::finding::{Finding, Purpose, Remedy, State};
use super::tools;

/// What the first run writes: an image while it is built, and the layers. In bytes.
pub const NEEDED: u64 = 4 << 30;
/// What one run writes once an image is there, in bytes.
pub const NEEDED_WITH_IMAGE: u64 = 1 << 30;
/// What leaves room for workspace disks and a second image, in bytes.
pub const COMFORTABLE: u64 = 10 << 30;

/// What is known of the filesystem that a directory is, or will be, on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this user may still write.
    pub free: u64,
    /// Whether this user may write there at all.
    pub writable: bool,
}

/// Looks at the filesystem of a directory, which need not exist yet; `None` where it cannot be asked.
#[must_use]
pub fn room(dir: &Utf8Path) -> Option<Room> {
    let there = dir.ancestors().find(|dir| dir.is_dir())?.as_std_path();
    let stat = rustix::fs::statvfs(there).ok()?;
    let writable = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    Some(Room { free: stat.f_bavail.saturating_mul(stat.f_frsize), writable })
}

/// The finding on disk space for a survey.
#[must_use]
pub fn disk_finding(dir: &Utf8Path, room: Option<Room>, image_ready: bool) -> Finding {
    let needed = if image_ready { NEEDED_WITH_IMAGE } else { NEEDED };
    let ready = |detail: String| Finding::ready("disk", "disk space", Purpose::Run, detail);
    let advice = || {
        let text = "free some, run `cargo banger gc`, or set BANGER_HOME to a roomier place";
        Remedy::Advice(text.to_owned())
    };
    match room {
        None => ready(format!("`{dir}` cannot be asked"))
            .but(State::Degraded, "a full disk shows only when it is full"),
        Some(Room { writable: false, .. }) => ready(format!("`{dir}` cannot be written"))
            .but(State::Missing, "nowhere to keep images")
            .mended_by(Remedy::Advice("set BANGER_HOME to a directory of yours".to_owned())),
        Some(Room { free, .. }) if free < needed => {
            ready(format!("{} free at `{dir}`, {} needed", gib(free), gib(needed)))
                .but(State::Missing, "an image and a run do not fit")
                .mended_by(advice())
        }
        Some(Room { free, .. }) if free < COMFORTABLE => {
            ready(format!("{} free at `{dir}`", gib(free)))
                .but(State::Degraded, "several images and warm workspaces may not fit")
                .mended_by(advice())
        }
        Some(Room { free, .. }) => ready(format!("{} free at `{dir}`", gib(free))),
    }
}

/// Opens device-mapper's control device, to see whether this user could.
///
/// # Errors
/// What the system answers where it cannot be opened.
pub fn device_mapper(root: &Utf8Path) -> Result<(), Errno> {
    open_device(&root.join("dev/mapper/control"))
}

/// The finding on device-mapper for a survey.
#[must_use]
pub fn device_mapper_finding(opened: Result<(), Errno>) -> Finding {
    let ready =
        |detail: &str| Finding::ready("device-mapper", "device-mapper", Purpose::Optional, detail);
    let cost = tools::COPIES;
    match opened {
        Ok(()) => ready("can be used"),
        Err(Errno::ACCESS | Errno::PERM) => ready("for root only").but(State::Missing, cost),
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            ready("not in this kernel, or not loaded")
                .but(State::Missing, cost)
                .mended_by(Remedy::root_command(&["modprobe", "dm_snapshot"]))
        }
        Err(other) => ready(&format!("cannot be opened: {other}")).but(State::Missing, cost),
    }
}

/// Opens a device for reading and writing, without ever waiting for it, and closes it again.
pub(super) fn open_device(device: &Utf8Path) -> Result<(), Errno> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(device.as_std_path(), flags, Mode::empty()).map(drop)
}

fn gib(bytes: u64) -> String {
    let tenths = (bytes >> 20) * 10 / 1024;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(free: u64, image_ready: bool) -> Finding {
        disk_finding(Utf8Path::new("/c"), Some(Room { free, writable: true }), image_ready)
    }

    #[test]
    fn space_is_enough_or_tight_or_too_little() {
        assert_eq!(disk(COMFORTABLE, false).state, State::Ready);
        assert_eq!(disk(COMFORTABLE - 1, false).state, State::Degraded);
        assert!(disk(NEEDED - 1, false).blocks_main_job());
        assert!(!disk(NEEDED - 1, true).blocks_main_job());
        assert!(disk(NEEDED_WITH_IMAGE - 1, true).blocks_main_job());
        assert_eq!(disk(5 << 29, false).detail, "2.5 GiB free at `/c`, 4.0 GiB needed");
    }

    #[test]
    fn a_place_that_cannot_be_written_stops_the_main_job() {
        let room = Room { free: u64::MAX, writable: false };
        assert!(disk_finding(Utf8Path::new("/c"), Some(room), true).blocks_main_job());
        assert!(!disk_finding(Utf8Path::new("/c"), None, true).blocks_main_job());
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_asked_through_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let inside = Utf8Path::from_path(dir.path()).unwrap().join("a/b/c");
        let room = room(&inside).unwrap();
        assert!(room.free > 0 && room.writable);
    }

    #[test]
    fn device_mapper_is_optional_in_every_state() {
        for errno in [Errno::ACCESS, Errno::NODEV, Errno::IO] {
            let finding = device_mapper_finding(Err(errno));
            assert_eq!(finding.state, State::Missing);
            assert!(!finding.required);
        }
        assert_eq!(device_mapper_finding(Ok(())).state, State::Ready);
        assert_eq!(device_mapper(Utf8Path::new("/no/such/root")), Err(Errno::NOENT));
    }
}
