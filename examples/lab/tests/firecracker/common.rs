//! The labs that tests take turns in.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use banger::Output;
use example_lab::Lab;

/// A lab that is opened when the first test wants it; `None` where there is no Firecracker to take
/// into it.
pub(crate) struct Turn(OnceLock<Option<Mutex<Lab>>>);

impl Turn {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Waits for it.
    pub(crate) fn lab(&'static self) -> Option<MutexGuard<'static, Lab>> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let lab = self.0.get_or_init(|| {
            let (Some(firecracker), Some(banger)) =
                (variable("FIRECRACKER"), variable("BANGER_BIN"))
            else {
                eprintln!("left out: FIRECRACKER names no program to try");
                return None;
            };
            Some(Mutex::new(Lab::open(&firecracker, &banger).unwrap()))
        });
        // A test that failed has left the lab as it was.
        Some(lab.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The lab of all tests but those of `both`.
pub(crate) fn lab() -> Option<MutexGuard<'static, Lab>> {
    static LAB: Turn = Turn::new();
    LAB.lab()
}

/// What VMs could leave on a host: devices, links, rules, namespaces, processes, directories, and
/// the host's own switch.
const STATE: &str = "\
    dmsetup ls; losetup --list --noheadings; ip -brief link | cut -d' ' -f1; nft list ruleset; \
    ip netns; cat /proc/sys/net/ipv4/ip_forward; ls -d /root/.local/state/banger/runs/* 2>/dev/null; \
    ls /run/banger-host/forwarding-was-off 2>/dev/null; pgrep -ax 'firecracker|ssh|dmsetup|cargo-banger'";

/// All of that, as text.
pub(crate) fn state(lab: &mut Lab) -> String {
    text(&lab.sh(STATE).unwrap())
}

/// Fails unless there is what was there before.
#[track_caller]
pub(crate) fn assert_nothing_left(lab: &mut Lab, before: &str) {
    assert_eq!(state(lab), before, "left: now, right: before");
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
