//! Killed at any moment, with a snapshot and a tap: the next command removes what is left.

use crate::common::{assert_nothing_left, lab, state, text};

/// Moments from the start of a run to its command, in tenths of a second.
const MOMENTS: &str = "1 3 5 7 9 11 13 15 17 20";

#[test]
fn a_vm_with_a_tap_leaves_nothing_when_it_is_killed() {
    let Some(mut lab) = lab() else { return };
    lab.sh("vm --net -- true").unwrap();
    let before = state(&mut lab);
    let script = format!(
        "for tenth in {MOMENTS}; do vm --net -- sleep 60 >/dev/null 2>&1 & sleep $((tenth / 10)).$((tenth % 10)); \
         pkill -9 cargo-banger; wait; banger gc >/dev/null; {{ dmsetup ls; ip netns; }} | grep -c ^banger-; done"
    );
    let killed = lab.sh(&script).unwrap();
    assert_eq!(text(&killed), "0\n".repeat(MOMENTS.split(' ').count()), "{killed}");
    assert_nothing_left(&mut lab, &before);
}

/// A run is killed with its VMM, and one of its devices is as if that had been just before it got its
/// table.
const HALF: &str = r#"
vm --name half -- sh -c 'echo up; sleep 60' >/tmp/said 2>/dev/null &
until grep -q up /tmp/said; do sleep 0.1; done
pkill -9 cargo-banger
wait
device=$(dmsetup ls | grep -o '^banger-[0-9a-f]*' | head -n 1)
dmsetup remove --retry $device
dmsetup create $device --notable
dmsetup ls | grep -c ^banger-
banger gc >/dev/null
dmsetup ls
"#;

#[test]
fn a_device_without_a_table_is_removed() {
    let Some(mut lab) = lab() else { return };
    lab.sh("vm -- true").unwrap();
    let before = state(&mut lab);
    let killed = lab.sh(HALF).unwrap();
    assert_eq!(text(&killed), "3\nNo devices found\n", "{killed}");
    assert_nothing_left(&mut lab, &before);
}
