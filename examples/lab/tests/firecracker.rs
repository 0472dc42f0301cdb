//! Firecracker in the lab. One lab serves all tests: they come one after another.

#![expect(clippy::unwrap_used, reason = "a test, all of it")]

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use banger::Output;
use example_lab::Lab;

/// The lab; `None` where there is no Firecracker to take into it.
fn lab() -> Option<MutexGuard<'static, Lab>> {
    static LAB: OnceLock<Option<Mutex<Lab>>> = OnceLock::new();
    let open = || {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let (Some(firecracker), Some(banger)) = (variable("FIRECRACKER"), variable("BANGER_BIN"))
        else {
            eprintln!("left out: FIRECRACKER names no program to try");
            return None;
        };
        Some(Mutex::new(Lab::open(&firecracker, &banger).unwrap()))
    };
    let lab = LAB.get_or_init(open).as_ref()?;
    // A test that failed has left the lab as it was.
    Some(lab.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What is left of VMs: processes, directories, loop devices.
const LEFT: &str =
    "pgrep -ax firecracker; pgrep -ax ssh; ls ~/.local/state/banger/runs; losetup -a";

fn assert_nothing_left(lab: &mut Lab) {
    let left = lab.sh(LEFT).unwrap();
    assert_eq!(text(&left), "", "{left}");
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_commands_output_and_status_are_its_own() {
    let Some(mut lab) = lab() else { return };
    let cold = lab.sh("vm --cold -- sh -c 'echo cold; exit 7'").unwrap();
    assert_eq!((cold.status, text(&cold).as_str()), (7, "cold\n"), "{cold}");
    let clone = lab.sh("echo in | vm -- sh -c 'cat; uname -r; kill -9 $$'").unwrap();
    assert_eq!(clone.status, 137, "{clone}");
    assert!(text(&clone).starts_with("in\n6."), "{clone}");
    let list = lab.sh("banger template list").unwrap();
    assert!(text(&list).contains("Firecracker"), "{list}");
    assert_nothing_left(&mut lab);
}

#[test]
fn two_clones_have_nothing_in_common() {
    let Some(mut lab) = lab() else { return };
    let identity = "cat /etc/machine-id /proc/sys/kernel/random/boot_id /etc/hostname; \
                    head -c 16 /dev/urandom | od -An -tx1";
    let both = lab
        .sh(&format!(
            "vm -- true; a() {{ vm -- sh -c '{identity}; date +%s.%N' >/tmp/$1; date +%s.%N >>/tmp/$1; }}; \
             a one & a two & wait; paste /tmp/one /tmp/two"
        ))
        .unwrap();
    let text = text(&both);
    let lines: Vec<_> = text.lines().filter_map(|line| line.split_once('\t')).collect();
    assert_eq!(lines.len(), 6, "{both}");
    for (one, other) in &lines[..4] {
        assert_ne!(one, other, "{both}");
    }
    // What the guest's clock said, and the lab's after the VM was gone.
    let clock = |of: &dyn Fn(&(&str, &str)) -> String| {
        let [guest, lab] = [4, 5].map(|line: usize| of(&lines[line]).parse::<f64>().unwrap());
        lab - guest
    };
    for late in [clock(&|line| line.0.to_owned()), clock(&|line| line.1.to_owned())] {
        assert!((0.0..5.0).contains(&late), "{late} s: {both}");
    }
    assert_nothing_left(&mut lab);
}

#[test]
fn who_is_not_root_needs_nothing_but_kvm() {
    let Some(mut lab) = lab() else { return };
    let refused = lab.as_user("stranger", "vm -- true").unwrap();
    assert!(!refused.success(), "{refused}");
    let told = errors(&refused);
    assert!(told.contains("may not open `/dev/kvm`") && told.contains("usermod -aG kvm"), "{told}");

    lab.as_user("friend", "true").unwrap();
    lab.sh("usermod -aG kvm friend").unwrap();
    let run = lab.as_user("friend", "vm -- id -un").unwrap();
    assert_eq!(text(&run), "root\n", "{run}");
    assert_nothing_left(&mut lab);
}

#[test]
fn vms_come_and_go() {
    let Some(mut lab) = lab() else { return };
    let count = "ls /proc/self/fd /dev /run | wc -l; ls ~/.cache/banger/templates | wc -l";
    let before = lab.sh(&format!("vm -- true; {count}")).unwrap();
    let script = "for n in 1 2 3 4 5 6 7 8; do vm -- sh -c \"exit $n\"; echo $?; done";
    let statuses = lab.sh(script).unwrap();
    assert_eq!(text(&statuses), "1\n2\n3\n4\n5\n6\n7\n8\n", "{statuses}");
    assert_eq!(text(&lab.sh(count).unwrap()), text(&before));
    assert_nothing_left(&mut lab);
}

#[test]
fn what_is_killed_leaves_nothing() {
    let Some(mut lab) = lab() else { return };
    lab.sh("vm -- true").unwrap();
    for (victim, moment) in
        [("cargo-banger", 3), ("cargo-banger", 5), ("cargo-banger", 7), ("firecracker", 8)]
    {
        let script = format!(
            "vm -- sleep 60 & sleep {moment}; pkill -9 {victim}; wait; banger gc; pgrep -c {victim}"
        );
        let killed = lab.sh(&script).unwrap();
        assert!(text(&killed).ends_with("0\n"), "{victim} after {moment} s: {killed}");
        assert_nothing_left(&mut lab);
    }
}

#[test]
fn what_firecracker_refuses_is_told_with_a_remedy() {
    let Some(mut lab) = lab() else { return };
    let mut refused = |script: &str, said: &[&str]| {
        let output = lab.sh(script).unwrap();
        let told = errors(&output);
        assert!(!output.success(), "{output}");
        assert!(said.iter().all(|text| told.contains(text)), "{script}: {told}");
    };
    refused(
        "head -c 64K /dev/zero >/tmp/k; printf '\\177ELF' | dd of=/tmp/k conv=notrunc status=none; \
         KERNEL=/tmp/k vm --cold -- true",
        &["the VMM refused `PUT /", "hint: ", "kernel"],
    );
    refused("vm --cold --net -- true", &["firecracker does not do outbound network", "--vmm qemu"]);
    refused("vm --accel tcg -- true", &["firecracker does not do emulation", "--vmm qemu"]);
    let odd = "PATH=/usr/bin:/bin; mv /usr/local/bin/firecracker /tmp/; vm -- true; status=$?; \
               mv /tmp/firecracker /usr/local/bin/; exit $status";
    refused(odd, &["cannot start `firecracker`", "hint: "]);
    // A state that is none is thrown away, and the VM boots all the same.
    let damage = "vm -- true; for state in ~/.cache/banger/templates/*/state; do \
                  dd if=/dev/zero of=$state bs=1K count=1 conv=notrunc status=none; done; vm -- echo up";
    let output = lab.sh(damage).unwrap();
    assert!(output.success() && text(&output) == "up\n", "{output}");
    assert!(errors(&output).contains("does not restore and is thrown away"), "{output}");
    assert_nothing_left(&mut lab);
}
