//! udev on the host does not believe what a guest writes to its disk.

use std::time::Duration;

use crate::common::{assert_nothing_left, lab, state, text};

/// How long it may take: udev looks at every disk, in an emulated machine.
const LIMIT: Duration = Duration::from_secs(600);

/// A VM whose guest gives its root disk another label, and fills what it can write to with the marks of
/// a CD that has it too, on a host whose udev looks at every disk there is afterwards.
const FORGED: &str = r#"
/lib/systemd/systemd-udevd --daemon
trap 'udevadm control --exit' EXIT
udevadm settle
vm --keep --name forger -- sh -c '
    { printf "\001CD001\001"; head -c 33 /dev/zero; printf "%-32s" FORGED; head -c 4024 /dev/zero; } >/run/mark
    e2label /dev/vda FORGED; sync
    for n in 1 2 3 4 5 6 7 8; do cat /run/mark /run/mark; done >/run/marks
    for n in 1 2 3 4 5 6 7 8; do cat /run/marks; done >/root/marks; sync'
udevadm trigger --settle --subsystem-match=block
for device in /sys/block/dm-* /sys/block/loop*; do
    name=$(cat $device/dm/name 2>/dev/null || cat $device/loop/backing_file 2>/dev/null) || continue
    udevadm info --query=property --path=$device | sed -nE "s@^(DM_UDEV_DISABLE_|ID_FS_)@${name##*/} &@p"
done
ls /dev/disk/by-label 2>/dev/null
banger stop forger >/dev/null
"#;

#[test]
fn what_a_guest_wrote_is_not_looked_at() {
    let Some(mut lab) = lab() else { return };
    lab.sh("vm -- true").unwrap();
    let before = state(&mut lab);
    let output = lab.sh_within(LIMIT, FORGED).unwrap();
    let text = text(&output);
    let of = |part: &str| {
        let lines = text.lines().filter(|line| line.starts_with("banger-"));
        lines.filter(|line| line.contains(part)).count()
    };
    // Of three devices.
    for rules in ["SUBSYSTEM", "DISK", "OTHER"] {
        assert_eq!(of(&format!("DM_UDEV_DISABLE_{rules}_RULES_FLAG=1")), 3, "{rules}: {output}");
    }
    assert_eq!(of("ID_FS_"), 0, "{output}");
    assert!(!text.contains("root.cow ID_FS_") && !text.contains("FORGED"), "{output}");
    assert_nothing_left(&mut lab, &before);
}
