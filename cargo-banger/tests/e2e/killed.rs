//! Killed at any moment, banger leaves nothing that the next command does not remove.

use std::time::Duration;

use rustix::process::Signal;

use crate::common::{TestEnvironment, Vmm, Workspace, tell};

/// How many runs are killed: every third by its VMM. Those of a VM in a VM take longest.
fn kills() -> u64 {
    match Vmm::of_the_suite() {
        Vmm::Qemu => 40,
        Vmm::Firecracker => 20,
    }
}

/// Chooses other moments; printed with a failure's output.
const SEED: &str = "BANGER_TEST_SEED";

#[test]
fn nothing_is_left_of_runs_killed_at_any_moment() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "killed");
    let run = || env.banger(["run", "--", "true"]).directory(workspace.root());
    run().run().code(0);
    let whole = run().run().code(0).took;
    let mut moments = Moments::new();
    for number in 0..kills() {
        let running = run().start();
        // The moment is what is tested: there is no event to wait for.
        let moment = moments.next(whole);
        std::thread::sleep(moment);
        let vmm = number % 3 == 2;
        if vmm {
            env.kill_vmms();
        } else {
            running.signal(Signal::KILL);
        }
        let outcome = running.finish();
        if vmm && !outcome.status.success() {
            assert!(outcome.stderr.contains("error: "), "after {moment:?}: {outcome}");
        }
        env.banger(["gc"]).run().code(0);
        env.assert_nothing_left();
    }
    run().run().code(0);
    env.assert_nothing_left();
}

/// Moments within a run, the same for the same seed (xorshift, Marsaglia 2003).
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(20_261_123);
        tell(&format!("killed: {SEED}={seed}"));
        Self(seed)
    }

    fn next(&mut self, within: Duration) -> Duration {
        let Self(state) = self;
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        let part = u32::try_from(*state % 1000).unwrap_or_default();
        within * part / 1000
    }
}
