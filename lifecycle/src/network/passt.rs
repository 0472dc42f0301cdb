//! What `passt` is told, and how it is asked whether it is there.
//!
//! `passt` turns what a guest sends into connections of the host's, without root. It has a socket and
//! nothing else: no path, no log, no port of the host's that leads to the guest. All have the same
//! addresses, so that clones keep the ones that they were frozen with. What may pass to it is
//! [`gate`](super::gate)'s.

use camino::Utf8PathBuf;

use super::gate::prefixed;
use super::{FORWARDER, GATEWAY, GUEST, Reach, frame};

/// The program.
pub(crate) const PROGRAM: &str = "passt";

/// Descriptor on which it finds its socket.
pub(crate) const SOCKET_FD: i32 = 3;

/// Its own hardware address, which a guest that was frozen remembers.
pub(super) const MAC: [u8; 6] = [0x52, 0x55, 10, 0, 2, 2];

/// How a guest gets out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    /// `passt`.
    pub(crate) passt: Utf8PathBuf,
    /// `cargo-banger`, which is the gate.
    pub(crate) banger: Utf8PathBuf,
    /// What passes that.
    pub(crate) reach: Reach,
}

/// The arguments. `routed` is whether the host has a default route, whose interface it would look at.
pub(crate) fn args(routed: bool) -> Vec<String> {
    let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
    let told = [
        // Ends with its one connection; what it could say to the log, the guest decides.
        format!("--foreground --quiet --fd {SOCKET_FD} --log-file /dev/null --ipv4-only"),
        "--no-map-gw --tcp-ports none --udp-ports none --no-dhcp".to_owned(),
        format!("--address {GUEST} --netmask 24 --gateway {GATEWAY} --mac-addr {mac} --mtu 1500"),
        format!("--dns-forward {FORWARDER}"),
    ];
    let mut words: Vec<_> =
        told.iter().flat_map(|some| some.split(' ')).map(str::to_owned).collect();
    if !routed {
        words.extend(["--interface", "lo"].map(str::to_owned));
    }
    words
}

/// Whether this host has a default route, by `/proc/net/route`.
pub(crate) fn is_routed(routes: &str) -> bool {
    let mut lines = routes.lines().skip(1).map(|line| line.split_whitespace().skip(1));
    lines.any(|mut fields| fields.next() == Some("00000000"))
}

/// A question that it answers once it is ready: who has the gateway's address.
pub(crate) fn question() -> Vec<u8> {
    prefixed(&frame::question([0x52, 0x54, 0, 0x12, 0x34, 0x56], GUEST, GATEWAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leads_to_nothing_of_the_hosts_and_binds_nothing() {
        let args = args(true).join(" ");
        for told in ["--no-map-gw", "--tcp-ports none", "--udp-ports none", "--ipv4-only", "--fd 3"]
        {
            assert!(args.contains(told), "{args}");
        }
        assert!(args.contains("--address 10.0.2.15 --netmask 24 --gateway 10.0.2.2"), "{args}");
        assert!(args.contains("--mac-addr 52:55:0a:00:02:02"), "{args}");
        assert!(!args.contains("--socket") && !args.contains("--interface"), "{args}");
    }

    #[test]
    fn a_host_without_a_route_has_a_network_all_the_same() {
        let head = "Iface\tDestination\tGateway \tFlags\n";
        assert!(!is_routed(head));
        assert!(!is_routed(&format!("{head}eth0\t000200C0\t00000000\t0001\n")));
        assert!(is_routed(&format!("{head}eth0\t00000000\t010200C0\t0003\n")));
        assert!(args(false).join(" ").ends_with("--interface lo"));
    }
}
