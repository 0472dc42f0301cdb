//! Users who are not root.

use crate::common::{errors, lab, text};

#[test]
fn who_is_not_root_needs_nothing_but_kvm() {
    let Some(mut lab) = lab() else { return };
    let refused = lab.as_user("stranger", "vm -- true").unwrap();
    assert!(!refused.success(), "{refused}");
    let told = errors(&refused);
    assert!(told.contains("may not open `/dev/kvm`") && told.contains("usermod -aG kvm"), "{told}");

    lab.as_user("friend", "true").unwrap();
    lab.sh("usermod -aG kvm friend").unwrap();
    let run = lab.as_user("friend", "vm --timings -- id -un").unwrap();
    assert_eq!(text(&run), "root\n", "{run}");
    // No device-mapper without root: a copy.
    assert!(errors(&run).contains("  copy"), "{run}");
    let refused = lab.as_user("friend", "vm --net -- true").unwrap();
    assert!(errors(&refused).contains("a tap needs root"), "{refused}");
    let left = lab.as_user("friend", "ls ~/.local/state/banger/runs; pgrep -u friend firecracker");
    assert_eq!(text(&left.unwrap()), "");
}
