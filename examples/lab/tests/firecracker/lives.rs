//! VMs over dm snapshots, over vsock and over a tap: they run, share a template, come and go.

use crate::common::{assert_nothing_left, errors, lab, state, text};

#[test]
fn a_commands_output_and_status_are_its_own() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    let cold = lab.sh("vm --cold --timings -- sh -c 'echo cold; exit 7'").unwrap();
    assert_eq!((cold.status, text(&cold).as_str()), (7, "cold\n"), "{cold}");
    for means in ["dm-snapshot", "firecracker, KVM"] {
        assert!(errors(&cold).contains(means), "{cold}");
    }
    // What runs it where nobody says.
    let auto = "banger run --no-sync --packages $GUEST --vcpu 1 --ram 256 --timings -- true";
    let auto = lab.sh(auto).unwrap();
    assert!(auto.success() && errors(&auto).contains("firecracker, KVM"), "{auto}");
    let clone = lab.sh("echo in | vm -- sh -c 'cat; uname -r; kill -9 $$'").unwrap();
    assert_eq!(clone.status, 137, "{clone}");
    assert!(text(&clone).starts_with("in\n6."), "{clone}");
    let list = lab.sh("banger template list").unwrap();
    assert!(text(&list).contains("Firecracker"), "{list}");
    assert_nothing_left(&mut lab, &before);
}

#[test]
fn two_clones_of_one_template_each_have_a_snapshot_and_a_tap_of_their_own() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    let both = lab
        .sh("start() { vm --net --keep --name $1 -- sh -c \"echo $1 >/root/mine; sync\"; }; \
             vm --net -- true; start one & start two & wait; \
             dmsetup ls | grep -c ^banger-; ip netns | grep -c ^banger-; \
             for name in one two; do echo 'cat /root/mine; ip -4 -o addr show eth0' | banger shell $name; done; \
             banger ps --json | grep address; banger stop one two")
        .unwrap();
    let text = text(&both);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["6", "2"], "{both}");
    for (line, name) in [(2, "one"), (4, "two")] {
        assert_eq!(lines[line], name, "{both}");
        // Inside, all are alike.
        assert!(lines[line + 1].contains("10.0.2.15/24"), "{both}");
    }
    assert_ne!(lines[6], lines[7], "{both}");
    assert_nothing_left(&mut lab, &before);
}

#[test]
fn thirty_vms_come_and_go() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    let count = "ls /proc/self/fd /dev /run | wc -l; ls ~/.cache/banger/templates | wc -l";
    let first = lab.sh(&format!("vm -- true; vm --net -- true; {count}")).unwrap();
    for tens in 0..3 {
        // Every second one has a tap.
        let script = format!(
            "for n in 0 1 2 3 4 5 6 7 8 9; do \
             net=; [ $((n % 2)) = 0 ] || net=--net; vm $net -- sh -c \"exit $(({tens}0 + n))\"; echo $?; done"
        );
        let statuses = lab.sh(&script).unwrap();
        let expected = (tens * 10..tens * 10 + 10).map(|status| format!("{status}\n"));
        assert_eq!(text(&statuses), expected.collect::<String>(), "{statuses}");
    }
    assert_eq!(text(&lab.sh(count).unwrap()), text(&first));
    assert_nothing_left(&mut lab, &before);
}

#[test]
fn devices_move_no_more_than_they_may() {
    let Some(mut lab) = lab() else { return };
    // 16 MiB at two a second, of which the first two are free.
    let read = "s=$(date +%s); dd if=/dev/vda of=/dev/null bs=1M count=16 iflag=direct; \
                echo $(($(date +%s) - s))";
    let seconds = |output: &banger::Output| text(output).trim().parse::<u32>().unwrap();
    let limited = lab.sh(&format!("vm --disk-rate 2 -- sh -c '{read}'")).unwrap();
    let free = lab.sh(&format!("vm -- sh -c '{read}'")).unwrap();
    assert!(seconds(&limited) >= 5, "{limited}");
    assert!(seconds(&free) < 5, "{free}");
}

#[test]
fn what_a_vm_is_told_and_what_it_counts_stand_in_its_directory() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    let kept = lab
        .sh("vm --keep --name told --disk-rate 9 -- true; cd ~/.local/state/banger/runs/told && \
             cat vm.json && ls && cd / && banger stop told")
        .unwrap();
    for said in
        ["\"vcpu_count\": 1", "\"drive_id\": \"root\"", "9437184", "metrics.json", "vmm.log"]
    {
        assert!(text(&kept).contains(said), "{said}: {kept}");
    }
    assert_nothing_left(&mut lab, &before);
}
