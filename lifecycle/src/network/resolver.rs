//! Which resolvers a guest can ask: the host's, but for those that only the host itself can reach, and
//! those with an address of the guest's own link.

use std::net::Ipv4Addr;

use super::LINK;
use super::pool::range;

/// Where they stand: as programs see them, and as systemd-resolved got them.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];

/// The text of the guest's `/etc/resolv.conf`; empty where the host has no resolver for it.
pub(crate) fn resolvers() -> String {
    let files = FILES.iter().filter_map(|file| fs_err::read_to_string(file).ok());
    files.map(|text| reachable(&text)).find(|text| !text.is_empty()).unwrap_or_default()
}

fn reachable(text: &str) -> String {
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let servers = servers.filter_map(|server| server.trim().parse::<Ipv4Addr>().ok());
    let on_link = |server: Ipv4Addr| {
        range(LINK).is_some_and(|(first, last)| (first..=last).contains(&u32::from(server)))
    };
    let here = |server: &Ipv4Addr| server.is_loopback() || on_link(*server);
    let servers = servers.filter(|server| !here(server));
    servers.map(|server| format!("nameserver {server}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_on_the_hosts_loopback_is_of_no_use_to_a_guest() {
        let text = "# x\nnameserver 127.0.0.53\nnameserver 10.0.2.3\nnameserver 192.0.2.1\nnameserver ::1\nsearch lan\n";
        assert_eq!(reachable(text), "nameserver 192.0.2.1\n");
    }
}
