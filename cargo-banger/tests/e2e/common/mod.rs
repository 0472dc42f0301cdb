//! What the tests stand on.

mod cargo;
mod environment;
mod process;
mod slots;
mod workspace;

pub(crate) use cargo::{
    Verdict, Verdicts, assert_same, has_nextest, libtest_verdicts, nextest_verdicts, repository,
};
pub(crate) use environment::{BANGER, TestEnvironment, Vmm, entries, skip, tell};
pub(crate) use process::{Outcome, Program, Running};
pub(crate) use slots::total as vms_at_once;
pub(crate) use workspace::Workspace;

use std::time::{Duration, Instant};

use camino::Utf8Path;
use fs_err as fs;

/// Waits until a condition holds; fails when it does not in time.
#[track_caller]
pub(crate) fn eventually(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "still not after {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes with a directory in their command lines, and those.
pub(crate) fn processes_of(dir: &Utf8Path) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // It may end while we look.
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(dir.as_str()) {
            found.push((pid, line));
        }
    }
    found
}
