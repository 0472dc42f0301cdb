//! Many first users at once: one image, and nobody in anybody's way.

use std::time::Duration;

use crate::common::{TestEnvironment, entries, vms_at_once};

/// How many run at once.
const RUNS: usize = 8;

/// They wait for one image build, then boot side by side on few cores.
const LIMIT: Duration = Duration::from_secs(900);

#[test]
fn eight_first_runs_build_one_image_and_each_is_right() {
    let Some(env) = TestEnvironment::with_empty_cache(vms_at_once()) else { return };
    if !env.can_build_images() {
        return;
    }
    let runs: Vec<_> = (0..RUNS)
        .map(|number| {
            let script = format!("echo {number}; exit {number}");
            let args = ["run", "--no-sync", "--ram", "512", "--boot-timeout", "10m", "--"];
            env.banger(args).args(["sh", "-c", &script]).limit(LIMIT).start()
        })
        .collect();
    for (number, run) in runs.into_iter().enumerate() {
        let outcome = run.finish().code(i32::try_from(number).unwrap());
        assert_eq!(outcome.stdout, format!("{number}\n").into_bytes());
    }
    let images = entries(&env.cache().join("images"));
    let whole = images.iter().filter(|path| path.join("manifest.json").exists());
    assert_eq!(whole.count(), 1, "{images:?}");
    assert_eq!(entries(&env.cache().join("logs")).len(), 1);
    env.assert_nothing_left();
}
