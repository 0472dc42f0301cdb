//! What a command does to the disks of its workspace: nothing that a later run sees among its sources,
//! and nothing that keeps a later run from starting.

use std::os::unix::fs::FileExt as _;

use camino::Utf8PathBuf;
use fs_err as fs;

use crate::common::{Outcome, TestEnvironment, Workspace, entries};

/// What tells that a disk is thrown away.
const BUILD_LOST: &str = "the disk with `target/` is thrown away";
const SOURCES_LOST: &str = "the workspace's sources is thrown away";

/// Prints the devices of the workspace's disks: of that with the sources, of that with `target/`.
const DEVICES: &str = "device() { awk -v at=$1 '$2 == at { print $1 }' /proc/mounts; }; \
                       sources=$(device /run/banger/work); build=$(device /run/banger/build); ";

/// Has so much be written that what was built is kept.
const BUILT: &str = "mkdir -p target/debug; \
                     dd if=/dev/urandom of=target/debug/made bs=1M count=8 status=none; sync; ";

fn run(env: &TestEnvironment, workspace: &Workspace, script: &str) -> Outcome {
    let script = format!("{DEVICES}{script}");
    let args = ["run", "--", "sh", "-c", &script];
    env.banger(args).directory(workspace.root()).env("BANGER_TOOLCHAIN", "false").run()
}

/// Fails unless a run sees the sources as they are, on both disks and at their own path.
#[track_caller]
fn sees_its_sources(env: &TestEnvironment, workspace: &Workspace) {
    let see = "cat fixture /run/banger/work/*/tree/fixture; ls /run/banger/work/*/tree";
    let outcome = run(env, workspace, see).code(0);
    let fixture = fs::read_to_string(workspace.root().join("fixture")).unwrap();
    let expected = format!("{fixture}{fixture}Cargo.toml\nfixture\nsrc\n");
    assert_eq!(outcome.text(), expected, "{outcome}");
    outcome.does_not_say(SOURCES_LOST);
}

#[test]
fn no_command_changes_the_sources_of_later_runs() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "sealed");
    let by_files = "for tree in /run/banger/work/*/tree; do \
                    echo evil >$tree/fixture; echo evil >$tree/evil; rm -r $tree/src; done; sync";
    let by_the_device = "dd if=/dev/urandom of=$sources bs=1M count=48 conv=notrunc status=none; \
                         dd if=/dev/zero of=$sources bs=1M count=8 conv=notrunc status=none; sync";
    for (number, attack) in [by_files, by_the_device].into_iter().enumerate() {
        // In the run that sends them, and in one that has nothing to send.
        workspace.write("fixture", format!("one {number}\n"));
        run(&env, &workspace, attack).code(0);
        sees_its_sources(&env, &workspace);
        run(&env, &workspace, attack).code(0);
        sees_its_sources(&env, &workspace);
        // What is sent then is laid over the same.
        workspace.write("fixture", format!("two {number}\n"));
        sees_its_sources(&env, &workspace);
    }
    env.assert_nothing_left();
}

#[test]
fn a_spoiled_target_is_thrown_away_by_the_run_that_meets_it() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "spoiled");
    workspace.write("fixture", "one\n");
    let ways = [
        "tune2fs -e panic $build >&2; debugfs -w -R 'clri <2>' $build >&2",
        "tune2fs -e panic $build >&2; debugfs -w -R 'clri target' $build >&2",
        "tune2fs -E force_fsck -e panic $build >&2; debugfs -w -R 'ssv error_count 7' $build >&2",
        "dd if=/dev/zero of=$build bs=1M count=64 conv=notrunc status=none",
    ];
    for way in ways {
        let spoil = format!("{BUILT}{way}; sync; echo 3 >/proc/sys/vm/drop_caches");
        let spoiling = run(&env, &workspace, &spoil);
        let next = run(&env, &workspace, "cat fixture; ls target/debug").code(2);
        assert_eq!(next.text(), "one\n", "{way}: {next}");
        // The guest that spoils it may be the first to notice.
        let told = [&spoiling, &next].iter().any(|outcome| outcome.stderr.contains(BUILD_LOST));
        assert!(told, "{way}: {spoiling}{next}");
    }
    // And what is built then is warm as ever.
    run(&env, &workspace, BUILT).code(0);
    let outcome = run(&env, &workspace, "ls target/debug").code(0).does_not_say(BUILD_LOST);
    assert_eq!(outcome.text(), "made\n");
    env.assert_nothing_left();
}

#[test]
fn errors_within_target_are_met_once() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "rotten");
    let spoil = "debugfs -w -R 'clri target/debug/made' $build >&2; sync; \
                 echo 3 >/proc/sys/vm/drop_caches";
    run(&env, &workspace, &format!("{BUILT}{spoil}")).code(0);
    run(&env, &workspace, "tune2fs -e panic $build >&2; cat target/debug/made").says(&[BUILD_LOST]);
    run(&env, &workspace, "ls target").code(0).does_not_say(BUILD_LOST);
    env.assert_nothing_left();
}

#[test]
fn a_damaged_file_of_a_disk_costs_no_run() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let workspace = Workspace::new(env.work(), "damaged");
    workspace.write("fixture", "one\n");
    let generation = |part: &str| {
        let disks = entries(&env.cache().join("workspaces")).into_iter().filter(|it| it.is_dir());
        let files = disks.flat_map(|dir| entries(&dir));
        let ours = |file: &Utf8PathBuf| {
            let name = file.file_name().unwrap_or_default();
            name.starts_with(&format!("{part}-"))
        };
        files.filter(ours).max().expect("there is a generation")
    };
    run(&env, &workspace, BUILT).code(0);
    let damages: [fn(&fs::File); 2] = [
        // What the guest finds there is not what was written.
        |file| {
            let length = file.metadata().unwrap().len();
            let noise = vec![0xff; usize::try_from(length).unwrap() - (256 << 10)];
            file.file().write_all_at(&noise, 256 << 10).unwrap();
        },
        // The VMM does not take it.
        |file| file.file().write_all_at(&[0; 4096], 0).unwrap(),
    ];
    for damage in damages {
        for part in ["sources", "build"] {
            let file = fs::OpenOptions::new().write(true).open(generation(part)).unwrap();
            damage(&file);
        }
        let outcome = run(&env, &workspace, &format!("cat fixture; {BUILT}")).code(0);
        assert_eq!(outcome.text(), "one\n", "{outcome}");
        sees_its_sources(&env, &workspace);
    }
    env.assert_nothing_left();
}
