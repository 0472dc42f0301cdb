//! Which resolvers a guest can ask: the host's, but for those that only the host itself can reach, and
//! those with an address of the guest's own link.

use std::net::Ipv4Addr;

use super::gate::is_own;
use super::pool::range;
use super::{FORWARDER, GATEWAY, GUEST, LINK, Reach};

/// Where they stand: as programs see them, and as systemd-resolved got them.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// Those that a guest with a tap can ask; none where the host has none for it.
pub(crate) fn resolvers() -> Vec<Ipv4Addr> {
    let files = FILES.iter().filter_map(|file| fs_err::read_to_string(file).ok());
    files.map(|text| reachable(&text)).find(|found| !found.is_empty()).unwrap_or_default()
}

/// Those that a guest behind `passt` is told of: the host's, where they are in its reach, since those
/// answer over TCP too, else who passes its questions on to the host's first.
pub(crate) fn resolvers_behind_passt(reach: Reach) -> Vec<Ipv4Addr> {
    let text = fs_err::read_to_string(FILES[0]).unwrap_or_default();
    told(&text, |server| {
        !reach.excludes(server) && ![GUEST, GATEWAY].contains(&server) && !is_own(server)
    })
}

fn told(text: &str, is_reached: impl Fn(Ipv4Addr) -> bool) -> Vec<Ipv4Addr> {
    let servers: Vec<_> = servers(text).collect();
    match servers.first() {
        Some(first) if !is_reached(*first) => vec![FORWARDER],
        _ => servers.into_iter().filter(|server| is_reached(*server)).collect(),
    }
}

fn reachable(text: &str) -> Vec<Ipv4Addr> {
    let on_link = |server: Ipv4Addr| {
        range(LINK).is_some_and(|(first, last)| (first..=last).contains(&u32::from(server)))
    };
    servers(text).filter(|server| !server.is_loopback() && !on_link(*server)).collect()
}

fn servers(text: &str) -> impl Iterator<Item = Ipv4Addr> {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.filter_map(|server| server.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_on_the_hosts_loopback_is_of_no_use_to_a_guest() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 10.0.2.3\nnameserver 192.0.2.1\nnameserver ::1\nsearch lan\n";
        assert_eq!(reachable(text), [Ipv4Addr::new(192, 0, 2, 1)]);
    }

    #[test]
    fn a_resolver_out_of_reach_is_asked_by_way_of_passt() {
        let (near, far) = (Ipv4Addr::new(127, 0, 0, 53), Ipv4Addr::new(9, 9, 9, 9));
        let told = |text: &str| told(text, |server| server != near);
        assert_eq!(told("nameserver 127.0.0.53\nnameserver 9.9.9.9\n"), [FORWARDER]);
        assert_eq!(told("nameserver 9.9.9.9\nnameserver 127.0.0.53\n"), [far]);
        assert!(told("nameserver ::1\n").is_empty());
    }
}
