//! How many VMs the tests run at once: a semaphore of locked files, so that it also holds where
//! each test is a process of its own.

use std::time::Duration;

use camino::Utf8Path;
use fs_err as fs;

use super::eventually;

/// How long a test may wait for its turn: as long as the whole suite may take.
const TURN: Duration = Duration::from_secs(3600);

/// Turns held by a test; dropping them lets others run.
#[derive(Debug)]
pub(crate) struct Slots(#[expect(dead_code, reason = "held for its locks")] Vec<std::fs::File>);

/// How many VMs this host runs at once.
pub(crate) fn total() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().clamp(1, 4))
}

impl Slots {
    /// Waits for `count` turns, or for all there are if that is fewer.
    pub(crate) fn acquire(dir: &Utf8Path, count: usize) -> Self {
        let count = count.min(total());
        fs::create_dir_all(dir).unwrap();
        // Whoever collects several holds the gate, so that two never wait for each other's.
        let gate = open(&dir.join("gate"));
        gate.lock().unwrap();
        let mut held = Vec::new();
        eventually(TURN, "a turn to run a VM", || {
            held.clear();
            let slots = (0..total()).map(|number| open(&dir.join(format!("slot-{number}"))));
            held.extend(slots.filter(|slot| slot.try_lock().is_ok()).take(count));
            held.len() == count
        });
        Self(held)
    }
}

fn open(path: &Utf8Path) -> std::fs::File {
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(false).write(true).open(path).unwrap().into_parts().0
}
