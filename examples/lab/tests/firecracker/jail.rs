//! Firecracker confined by its jailer.

use crate::common::{assert_nothing_left, errors, lab, state, text};

#[test]
fn a_jailed_vmm_has_a_user_and_a_directory_of_its_own() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    let script = "for name in one two; do vm --jail --net --keep --name $name -- sh -c 'echo in $(hostname)'; done; \
        for pid in $(pgrep firecracker); do stat -c %u /proc/$pid; ls /proc/$pid/root/; \
        readlink /proc/$pid/ns/mnt; done; banger stop one two";
    let output = lab.sh(script).unwrap();
    let text = text(&output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["in one", "in two"], "{output}");
    let numbers = |prefix: &str| {
        let mut found: Vec<_> = lines[2..].iter().filter(|line| line.starts_with(prefix)).collect();
        found.sort_unstable();
        found.dedup();
        found.len()
    };
    // Another user and another mount namespace each, and nothing of the host in sight.
    assert_eq!((numbers("1"), numbers("mnt:")), (2, 2), "{output}");
    assert!(lines.contains(&"root.disk") && !lines.contains(&"home"), "{output}");
    assert_nothing_left(&mut lab, &before);
}

#[test]
fn a_jailed_vm_boots_cold_and_keeps_its_workspace() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    let script = "mkdir -p /tmp/crate/src && cd /tmp/crate && touch src/lib.rs && \
        printf '[package]\nname = \"jailed\"\n' >Cargo.toml && export BANGER_TOOLCHAIN=false && \
        jailed() { banger run --jail --vmm firecracker --vcpu 1 --ram 256 --boot-timeout 2m --packages $GUEST \"$@\"; } && \
        jailed --cold -- sh -c 'mkdir -p target && echo built >target/mark' && jailed -- cat target/mark";
    let output = lab.sh(script).unwrap();
    assert_eq!(text(&output), "built\n", "{output}");
    assert_nothing_left(&mut lab, &before);
}

#[test]
fn a_killed_one_is_found() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    let script = "for second in 1 2 3 4; do vm --jail -- sleep 60 >/dev/null 2>&1 & sleep $second; \
        pkill -9 cargo-banger; wait; banger gc >/dev/null; pgrep -c 'firecracker|jailer'; done";
    let output = lab.sh(script).unwrap();
    assert_eq!(text(&output), "0\n".repeat(4), "{output}");
    assert_nothing_left(&mut lab, &before);
}

#[test]
fn only_root_and_only_firecracker_have_jails() {
    let Some(mut lab) = lab() else { return };
    lab.as_user("friend", "true").unwrap();
    lab.sh("usermod -aG kvm friend").unwrap();
    let refused = lab.as_user("friend", "vm --jail -- true").unwrap();
    assert!(errors(&refused).contains("only root makes them"), "{refused}");
    let refused =
        lab.sh("banger run --no-sync --vmm qemu --jail --packages $GUEST -- true").unwrap();
    assert!(errors(&refused).contains("--vmm firecracker"), "{refused}");
}
