//! Taps and NAT.

use crate::common::{assert_nothing_left, errors, lab, state, text};

/// A server in another namespace, beyond the lab: it says hello on port 80 of 192.0.2.2. `ask NAME`
/// has a VM ask for that.
const OUTSIDE: &str = "\
    ip netns add outside && ip link add out type veth peer name in netns outside && \
    ip addr add 192.0.2.1/24 dev out && ip link set out up && \
    ip -n outside addr add 192.0.2.2/24 dev in && ip -n outside link set in up && \
    { ip netns exec outside sh -c 'while echo hello | /run/banger/busybox nc -l -p 80; do :; done' \
    >/dev/null 2>&1 & }; server=$!; \
    ask() { echo 'timeout 5 /run/banger/busybox nc 192.0.2.2 80 </dev/null || echo nothing' | banger shell $1; }; ";

/// Takes it away.
const INSIDE: &str = "kill $server; ip netns pids outside | xargs kill; ip netns delete outside; \
                      ip link delete out 2>/dev/null; true";

#[test]
fn nat_is_switched_while_a_vm_runs_and_no_other_is_affected() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    let script = "for name in one two; do vm --net --keep --name $name -- true; done; \
        cat /proc/sys/net/ipv4/ip_forward; banger nat status one; ask one; ask two; \
        banger nat down one; banger nat status one; ask one; ask two; \
        banger nat up one; ask one; banger stop one; banger nat status two --json; ask two; banger stop two;";
    let output = lab.sh(&format!("{OUTSIDE} {script} {INSIDE}")).unwrap();
    let answers = "1\nup\nhello\nhello\ndown\nnothing\nhello\nhello\n\
                   {\n  \"name\": \"two\",\n  \"nat\": \"up\"\n}\nhello\n";
    assert_eq!(text(&output), answers, "{output}");
    assert_nothing_left(&mut lab, &before);
}

#[test]
fn the_host_reaches_a_vm_at_its_leased_address_and_the_vm_without_net_reaches_nothing() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    let script = "vm --net=tap --net-pool 10.99.0.0/24 --keep --name near -- true; \
        /run/banger/busybox nc 10.99.0.1 22 </dev/null | head -c 8; echo; banger stop near; \
        vm -- sh -c 'ls /sys/class/net'; \
        ip route add 10.98.0.0/16 dev lo; vm --net --net-pool 10.98.0.0/24 -- true; echo $?; \
        ip route delete 10.98.0.0/16 dev lo";
    let output = lab.sh(script).unwrap();
    assert_eq!(text(&output), "SSH-2.0-\nlo\n241\n", "{output}");
    assert!(errors(&output).contains("no address of `10.98.0.0/24` is free"), "{output}");
    assert!(errors(&output).contains("--net-pool"), "{output}");
    assert_nothing_left(&mut lab, &before);
}

#[test]
fn with_internet_a_vm_reaches_public_addresses_only_also_after_it_was_switched() {
    let Some(mut lab) = lab() else { return };
    let before = state(&mut lab);
    let script = "ip -n outside addr add 11.0.0.1/32 dev in; ip route add 11.0.0.1 via 192.0.2.2; \
        from() { echo \"timeout 5 /run/banger/busybox nc $1 80 </dev/null || echo nothing\" | banger shell far; }; \
        vm --net=internet --keep --name far -- true; from 11.0.0.1; from 192.0.2.2; \
        banger nat down far; from 11.0.0.1; banger nat up far; from 11.0.0.1; from 192.0.2.2; banger stop far;";
    let output = lab.sh(&format!("{OUTSIDE} {script} {INSIDE}")).unwrap();
    assert_eq!(text(&output), "hello\nnothing\nnothing\nhello\nnothing\n", "{output}");
    assert_nothing_left(&mut lab, &before);
}

#[test]
fn forwarding_that_was_on_stays_on() {
    let Some(mut lab) = lab() else { return };
    let switch = "/proc/sys/net/ipv4/ip_forward";
    let output =
        lab.sh(&format!("echo 1 >{switch}; vm --net -- true; cat {switch}; echo 0 >{switch}"));
    let output = output.unwrap();
    assert_eq!(text(&output), "1\n", "{output}");
}
