//! What `ip` is told: one text for the host, one for the namespace.

use super::pool::Lease;
use super::{GATEWAY, GUEST, TAP};
use crate::rundir::record::NetworkRecord;

/// The veth's end in the namespace.
const UPLINK: &str = "uplink";

/// What `nft` is told in the namespace: the guest leaves it under the leased address, and who calls
/// that reaches the guest.
pub(super) fn translation() -> String {
    format!(
        "table ip banger {{\n\
         chain leaving {{\n\
         type nat hook postrouting priority 100\n\
         oifname \"{UPLINK}\" masquerade\n\
         }}\n\
         chain coming {{\n\
         type nat hook prerouting priority -100\n\
         iifname \"{UPLINK}\" dnat to {GUEST}\n\
         }}\n\
         }}\n"
    )
}

/// Makes the namespace, and the link to it.
pub(super) fn on_the_host(names: &NetworkRecord, lease: Lease) -> String {
    let NetworkRecord { namespace, link, .. } = names;
    let host = lease.host;
    format!(
        "netns add {namespace}\n\
         link add {link} type veth peer name {UPLINK} netns {namespace}\n\
         addr add {host}/31 dev {link}\n\
         link set {link} up\n"
    )
}

/// Brings up both ends in the namespace: towards the host, and the tap.
pub(super) fn inside(lease: Lease) -> String {
    let Lease { host, guest } = lease;
    format!(
        "link set lo up\n\
         addr add {guest}/31 dev {UPLINK}\n\
         link set {UPLINK} up\n\
         route add default via {host}\n\
         tuntap add dev {TAP} mode tap\n\
         addr add {GATEWAY}/24 dev {TAP}\n\
         link set {TAP} up\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::names;

    #[test]
    fn both_ends_have_the_leased_pair() {
        let lease = Lease { host: [10, 231, 0, 4].into(), guest: [10, 231, 0, 5].into() };
        let host = on_the_host(&names("0123abcd"), lease);
        assert!(host.starts_with("netns add banger-0123abcd\nlink add bgr-0123abcd "), "{host}");
        assert!(host.contains("addr add 10.231.0.4/31 dev bgr-0123abcd\n"), "{host}");
        let inside = inside(lease);
        assert!(inside.contains("addr add 10.231.0.5/31 dev uplink\n"), "{inside}");
        assert!(inside.contains("default via 10.231.0.4\n"), "{inside}");
    }

    #[test]
    fn the_links_name_fits_into_the_kernels_limit() {
        const IFNAMSIZ: usize = 16;
        assert!(names("0123abcd").link.len() < IFNAMSIZ);
    }
}
