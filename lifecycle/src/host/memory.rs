//! How much memory a guest can have: what the kernel says is available, within our control group.

use camino::Utf8Path;
use fs_err as fs;

use super::finding::{Finding, Purpose, Remedy, State};

/// What one guest of the default size and the tools around it need, in bytes.
pub const NEEDED: u64 = 3 << 29;

/// The memory that can be had, in bytes; `None` where the host does not say.
#[must_use]
pub fn available(root: &Utf8Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    // In a container the control group's limit counts; on a plain host the root group has no file.
    let limit = fs::read_to_string(root.join("sys/fs/cgroup/memory.max")).ok();
    let limit = limit.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
    Some(limit.min(kib << 10))
}

/// The finding for a survey.
#[must_use]
pub fn finding(available: Option<u64>) -> Finding {
    let ready = |detail: String| Finding::ready("memory", "memory", Purpose::Run, detail);
    match available {
        None => ready("unknown".to_owned())
            .but(State::Degraded, "a guest may not get the memory it asks for"),
        Some(bytes) if bytes < NEEDED => {
            ready(format!("{} MiB available, {} MiB needed", bytes >> 20, NEEDED >> 20))
                .but(State::Missing, "a guest and the compiler in it do not fit")
                .mended_by(Remedy::Advice("end programs that hold memory, or add some".to_owned()))
        }
        Some(bytes) => ready(format!("{} MiB available", bytes >> 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(meminfo: &str, limit: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc")).unwrap();
        fs::create_dir_all(dir.path().join("sys/fs/cgroup")).unwrap();
        fs::write(dir.path().join("proc/meminfo"), meminfo).unwrap();
        if let Some(limit) = limit {
            fs::write(dir.path().join("sys/fs/cgroup/memory.max"), limit).unwrap();
        }
        dir
    }

    fn read(dir: &tempfile::TempDir) -> Option<u64> {
        available(Utf8Path::from_path(dir.path()).unwrap())
    }

    #[test]
    fn the_smaller_of_the_host_and_the_container_counts() {
        let meminfo = "MemTotal:  8388608 kB\nMemAvailable:  4194304 kB\n";
        assert_eq!(read(&host(meminfo, None)), Some(4 << 30));
        assert_eq!(read(&host(meminfo, Some("max\n"))), Some(4 << 30));
        assert_eq!(read(&host(meminfo, Some("1073741824\n"))), Some(1 << 30));
        assert_eq!(read(&host("MemTotal: 1 kB\n", None)), None);
    }

    #[test]
    fn too_little_stops_the_main_job_and_the_unknown_does_not() {
        assert_eq!(finding(Some(NEEDED)).state, State::Ready);
        let little = finding(Some(NEEDED - 1));
        assert!(little.blocks_main_job());
        assert!(little.detail.contains("1536 MiB needed"), "{}", little.detail);
        assert!(!finding(None).blocks_main_job());
    }
}
