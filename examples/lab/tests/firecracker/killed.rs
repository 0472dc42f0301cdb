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
