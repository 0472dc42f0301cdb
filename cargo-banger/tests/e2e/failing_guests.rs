//! Hosts and guests that fail: noticed at once, named, and nothing stays.

use std::os::unix::fs::symlink;
use std::time::Duration;

use camino::Utf8Path;
use fs_err as fs;

use crate::common::{BANGER, Program, TestEnvironment, Vmm, entries, skip};

/// A failure that is noticed is reported well before any limit on silence runs out.
const NO_HANG: Duration = Duration::from_secs(75);

#[test]
fn a_kernel_panic_is_reported_with_the_console() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "echo before; sleep 0.2; echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; \
                  sleep 600";
    let outcome = env.sh(script).limit(NO_HANG).run().code(243);
    assert_eq!(outcome.text(), "before\n");
    outcome.says(&["panicked", "sysrq triggered crash", "Call Trace"]);
    env.assert_nothing_left();
}

#[test]
fn a_guest_that_powers_off_is_reported() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "echo 1 >/proc/sys/kernel/sysrq; echo o >/proc/sysrq-trigger; sleep 600";
    env.sh(script).limit(NO_HANG).run().code(243).says(&["switched itself off"]);
    env.assert_nothing_left();
}

#[test]
fn a_dead_agent_is_reported() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    // All processes but the first and this one.
    let script = "kill -KILL -1; sleep 600";
    let outcome = env.sh(script).limit(NO_HANG).run().code(243);
    outcome.says(&["gave up: its agent has ended"]);
    // The one of its processes that runs commands, and has each led by another.
    let script = "kill -KILL $(cut -d ' ' -f 4 /proc/$PPID/stat); sleep 600";
    let outcome = env.sh(script).limit(NO_HANG).run().code(243);
    outcome.says(&["agent", "ended"]);
    env.assert_nothing_left();
}

#[test]
fn a_guest_without_its_network_or_its_sshd_goes_on() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "pkill -KILL sshd; ip link set lo down; ! [ -e /sys/class/net/eth0 ] || ip link set eth0 down; \
                  cat; ip -o link show up; exit 3";
    let outcome = env.sh(script).input(&b"goes on\n"[..]).limit(NO_HANG).run().code(3);
    assert_eq!(outcome.text(), "goes on\n");
    env.assert_nothing_left();
}

#[test]
fn a_killed_vmm_is_reported() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let mut running = env.sh("echo up; sleep 600").limit(NO_HANG).start();
    running.wait_for_stdout("up\n");
    let killed = env.kill_vmms();
    assert_eq!(killed, 1);
    running.finish().code(243).says(&["the VMM was killed by signal 9"]);
    env.assert_nothing_left();
}

#[test]
fn an_overlay_that_is_full_is_no_space_in_the_guest() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "dd if=/dev/zero of=/root/big bs=1M count=300 && sync";
    let args = ["run", "--no-sync", "--overlay-size", "64M", "--", "sh", "-c", script];
    let outcome = env.banger(args).run();
    assert!(!outcome.status.success(), "{outcome}");
    outcome.says(&["No space left on device"]);
    env.assert_nothing_left();
}

#[test]
fn a_kernel_that_is_cut_short_does_not_come_up() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let images = entries(&env.cache().join("images"));
    let kernel = images.iter().map(|image| image.join("vmlinux")).find(|path| path.exists());
    let kernel = fs::read(kernel.unwrap()).unwrap();
    fs::write(env.work().join("short"), &kernel[..kernel.len() / 2]).unwrap();
    let args = ["run", "--no-sync", "--boot-timeout", "30s", "--kernel", "short", "--", "true"];
    env.banger(args).limit(NO_HANG).run().code(242);
    env.assert_nothing_left();
}

#[test]
fn a_root_disk_without_a_system_does_not_come_up() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let disk = env.work().join("empty.ext4");
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    env.program("mke2fs").args(["-q", "-t", "ext4", disk.as_str()]).run().code(0);
    let args =
        ["run", "--no-sync", "--boot-timeout", "60s", "--rootfs", "empty.ext4", "--", "true"];
    let outcome = env.banger(args).limit(Duration::from_secs(120)).run().code(242);
    assert!(outcome.stderr.lines().count() > 3, "no console: {outcome}");
    env.assert_nothing_left();
}

#[test]
fn without_the_vmm_the_remedy_is_named() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let said = match Vmm::of_the_suite() {
        Vmm::Qemu => ["qemu-system-x86_64", "cargo banger doctor --fix"],
        Vmm::Firecracker => ["`firecracker`", "cargo banger setup"],
    };
    let bin = env.work().join("bin");
    fs::create_dir(&bin).unwrap();
    // A path with all that a run needs, but for the VMM.
    for name in ["cargo", "ssh", "ssh-keygen", "mke2fs", "qemu-img", "sh"] {
        if let Some(program) = find(name) {
            symlink(program, bin.join(name)).unwrap();
        }
    }
    env.banger(["run", "--no-sync", "--", "true"])
        .env("PATH", &bin)
        .limit(NO_HANG)
        .run()
        .code(241)
        .says(&said);
    env.assert_nothing_left();
}

#[test]
fn a_host_disk_that_fills_up_stops_the_vm_and_says_so() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    let script = "dd if=/dev/zero of=/root/big bs=1M count=600; sync; sleep 600";
    let Some(banger) = on_small_disk(&env, "200m", &["run", "--no-sync", "--", "sh", "-c", script])
    else {
        return;
    };
    banger.run().code(243).says(&["ran out of disk space", "cargo banger gc"]);
}

#[test]
fn an_image_that_does_not_fit_says_so() {
    let Some(env) = TestEnvironment::sharing_images(1) else { return };
    if !env.can_build_images() {
        return;
    }
    fs::remove_file(env.cache().join("images")).unwrap();
    let Some(banger) = on_small_disk(&env, "100m", &["image", "build"]) else { return };
    banger.run().code(245).says(&["no space left"]);
}

/// `cargo banger` with its home on a small disk of its own, which goes with it; the cache's links
/// are kept.
fn on_small_disk(env: &TestEnvironment, size: &str, args: &[&str]) -> Option<Program> {
    if !rustix::process::geteuid().is_root() {
        skip("only root mounts a small disk");
        return None;
    }
    let unshared = env.program("unshare").args(["--mount", "true"]).run();
    if !unshared.status.success() {
        skip(&format!("no mounts of its own, as in a chroot: {}", unshared.stderr.trim()));
        return None;
    }
    // The first `mv` target is outside of the home, which the new disk hides.
    let script = "links=$1; size=$2; shift 2
        mkdir -p $BANGER_HOME/cache && mv $BANGER_HOME/cache $links &&
        mount -t tmpfs -o size=$size small $BANGER_HOME && cp -a $links $BANGER_HOME/cache &&
        exec \"$@\"";
    let links = env.work().join("links");
    let shell = env.program("unshare").args(["--mount", "sh", "-c", script, "sh", links.as_str()]);
    Some(shell.args([size, BANGER, "banger"]).args(args))
}

/// A program on the search path of the tests, or in the system's directories.
fn find(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).collect::<Vec<_>>();
    let system = ["/usr/sbin", "/sbin"].map(|dir| Utf8Path::new(dir).as_std_path().to_owned());
    own.into_iter().chain(system).map(|dir| dir.join(name)).find(|file| file.is_file())
}
