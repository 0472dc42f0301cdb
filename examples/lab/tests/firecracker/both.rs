//! What passes over both VMMs: end-to-end tests and an example's, as they were built on the host. The
//! longest of all, so that it comes first by name.

use std::path::Path;
use std::sync::MutexGuard;
use std::time::Duration;

use example_lab::{Lab, test_binary};

use crate::common::{Turn, assert_nothing_left, errors, state};

/// How long a suite may take.
const LIMIT: Duration = Duration::from_secs(3000);

/// Where the end-to-end tests keep images: for all tests of this workspace.
const HOME: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/banger-e2e");

/// Of the end-to-end tests, those that need no other image and build nothing in the guest. What makes
/// templates over and over, or fills a disk, has its test in `refusals`.
const TESTS: &str = "clones:: commands:: failing_guests:: interrupts:: keeping:: killed:: options:: \
     sync:: --skip a_hundred_megabytes --skip an_image_that_does_not_fit --skip cargo_works \
     --skip a_host_disk_that_fills_up";

/// Of the example's, those without systemd, whose boot takes minutes here.
const EXAMPLES: &str = "filesystem namespace";

/// A lab of its own, beside the other.
fn lab() -> Option<MutexGuard<'static, Lab>> {
    static LAB: Turn = Turn::new();
    LAB.lab()
}

#[test]
fn the_end_to_end_tests_pass() {
    let Some(mut lab) = lab() else { return };
    lab.share_images(Path::new(HOME).join("cache")).unwrap();
    run(&mut lab, "cargo-banger", "e2e", TESTS);
}

#[test]
fn an_examples_tests_pass() {
    let Some(mut lab) = lab() else { return };
    run(&mut lab, "example-kernel", "kernel", EXAMPLES);
}

/// Takes a test's executable into the lab and runs it there, one test after another.
fn run(lab: &mut Lab, package: &str, test: &str, arguments: &str) {
    let before = state(lab);
    let binary = test_binary(package, test);
    lab.take(&binary, &binary).unwrap();
    let script = format!(
        "export BANGER_VMM=firecracker BANGER_PACKAGES=$GUEST BANGER_BOOT_TIMEOUT=3m; \
         cd {directory} && {binary} --test-threads 1 {arguments}",
        directory = directory(package),
        binary = binary.display(),
    );
    let output = lab.sh_within(LIMIT, &script).unwrap();
    assert!(output.success() && !errors(&output).contains("SKIPPED"), "{output}");
    assert_nothing_left(lab, &before);
}

/// A package's directory.
fn directory(package: &str) -> String {
    let below = package.strip_prefix("example-").map(|name| format!("examples/{name}"));
    format!("{}/../../{}", env!("CARGO_MANIFEST_DIR"), below.as_deref().unwrap_or(package))
}
