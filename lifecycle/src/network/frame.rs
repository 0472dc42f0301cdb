//! A guest's Ethernet frames: where one is to go, and the answers to those that go nowhere.
//!
//! Guests are not trusted, and any of them can send any bytes: nothing is taken from a frame but where
//! it goes. What is no ARP and no IPv4 goes nowhere.

use std::net::Ipv4Addr;

/// Lengths of headers, in bytes.
const ETHERNET: usize = 14;
const ARP: usize = 28;
const IPV4: usize = 20;
const ICMP: usize = 8;

/// Types of Ethernet's payloads.
const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
const TYPE_ARP: [u8; 2] = [0x08, 0x06];

/// How ARP for IPv4 over Ethernet begins.
const ARP_REQUEST: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 1];
const ARP_REPLY: [u8; 8] = [0, 1, 8, 0, 6, 4, 0, 2];

/// Numbers of protocols over IPv4.
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_UDP: u8 = 17;

/// The port of name servers.
const DNS: u16 = 53;

/// Where a frame is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To the link's other end, to ask for an address there.
    Link,
    /// To an address.
    Address {
        address: Ipv4Addr,
        /// Whether it asks a name server, over UDP.
        asks_dns: bool,
    },
}

/// Where a frame is to go; `None` where that is nowhere.
pub(super) fn target(frame: &[u8]) -> Option<Target> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
    if is_arp(frame) {
        return Some(Target::Link);
    }
    if !ethernet.ends_with(&TYPE_IPV4) {
        return None;
    }
    let length = header_length(packet)?;
    let address = Ipv4Addr::from(*packet[16..].first_chunk::<4>()?);
    let port =
        packet.get(length + 2..length + 4).map(|port| u16::from_be_bytes([port[0], port[1]]));
    let asks_dns = packet[9] == PROTOCOL_UDP && !is_fragment(packet) && port == Some(DNS);
    Some(Target::Address { address, asks_dns })
}

/// What is said to who asks for a neighbour's hardware address: this one, whosever it is but the asker's
/// own; `None` for what is no such question.
pub(super) fn neighbour(frame: &[u8], guest: Ipv4Addr, mac: [u8; 6]) -> Option<Vec<u8>> {
    let question = frame.get(ETHERNET..ETHERNET + ARP)?;
    let (asking, rest) = question[8..].split_at(10);
    let wanted = &rest[6..];
    // Who asks for an address in its own name tells that it has it.
    if question[..8] != ARP_REQUEST || wanted == guest.octets() || wanted == &asking[6..] {
        return None;
    }
    let (to, from) = (&frame[6..12], &mac);
    Some([to, from, &TYPE_ARP, &ARP_REPLY, from, wanted, asking].concat())
}

/// A question for a neighbour's hardware address.
pub(super) fn question(mac: [u8; 6], address: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let ethernet = [&[0xff; 6][..], &mac, &TYPE_ARP].concat();
    let (own, wanted) = (address.octets(), wanted.octets());
    [&ethernet[..], &ARP_REQUEST, &mac, &own, &[0; 6], &wanted].concat()
}

/// Whether a frame answers such a question.
pub(super) fn is_answer(frame: &[u8]) -> bool {
    is_arp(frame) && frame.get(ETHERNET..ETHERNET + 8).is_some_and(|head| head == ARP_REPLY)
}

/// Whether a frame is of ARP, and so of the link.
pub(super) fn is_arp(frame: &[u8]) -> bool {
    frame.get(12..ETHERNET).is_some_and(|kind| kind == TYPE_ARP)
}

/// What tells the sender of an IPv4 frame that it may not pass, as a router does (ICMP type 3, code 13,
/// "communication administratively prohibited"); `None` for what is not to be answered.
pub(super) fn refusal(frame: &[u8], router: Ipv4Addr) -> Option<Vec<u8>> {
    let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
    let length = header_length(packet)?;
    let address = |at: usize| Some(Ipv4Addr::from(*packet[at..].first_chunk::<4>()?));
    let (sender, receiver) = (address(12)?, address(16)?);
    let is_one = |it: Ipv4Addr| !it.is_multicast() && !it.is_broadcast() && !it.is_unspecified();
    // One that tells of an error is not answered by another.
    let is_answered = is_one(sender) && is_one(receiver) && packet[9] != PROTOCOL_ICMP;
    if !is_answered || is_fragment(packet) {
        return None;
    }
    // Its header, and the ports behind that.
    let quoted = packet.get(..length + 8)?;
    let mut icmp = vec![3, 13, 0, 0, 0, 0, 0, 0];
    icmp.extend(quoted);
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum);
    let total = u16::try_from(IPV4 + icmp.len()).ok()?.to_be_bytes();
    let mut ip = vec![0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, PROTOCOL_ICMP, 0, 0];
    ip.extend(router.octets());
    ip.extend(sender.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum);
    let (to, from) = (&ethernet[6..12], &ethernet[..6]);
    Some([to, from, &TYPE_IPV4, &ip, &icmp].concat())
}

/// The length of an IPv4 header that is there as a whole.
fn header_length(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let length = usize::from(first & 0x0f) * 4;
    (first >> 4 == 4 && length >= IPV4 && packet.len() >= length).then_some(length)
}

/// Whether a packet is a part of another but the first, so that it names no ports.
fn is_fragment(packet: &[u8]) -> bool {
    u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum = words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum ^ 0xffff).unwrap_or_default().to_be_bytes()
}

const _: () = assert!(ICMP == 8, "its header is written out in `refusal`");

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An IPv4 packet in a frame, from the guest.
    pub(in crate::network) fn packet(to: [u8; 4], protocol: u8, port: u16) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0];
        frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 2, 15]);
        frame.extend(to);
        frame.extend([0x9c, 0x40]);
        frame.extend(port.to_be_bytes());
        frame.extend([0; 4]);
        frame
    }

    #[test]
    fn an_address_is_read_and_a_question_for_a_name_known() {
        let address = Ipv4Addr::new(192, 0, 2, 7);
        let target_of = |protocol, port| target(&packet([192, 0, 2, 7], protocol, port));
        assert_eq!(target_of(6, 53), Some(Target::Address { address, asks_dns: false }));
        assert_eq!(target_of(17, 53), Some(Target::Address { address, asks_dns: true }));
        assert_eq!(target_of(17, 54), Some(Target::Address { address, asks_dns: false }));
        let mut fragment = packet([192, 0, 2, 7], 17, 53);
        fragment[ETHERNET + 7] = 1;
        assert_eq!(target(&fragment), Some(Target::Address { address, asks_dns: false }));
    }

    #[test]
    fn what_is_no_ipv4_goes_nowhere() {
        let whole = packet([192, 0, 2, 7], 6, 80);
        let mut other = whole.clone();
        // IPv6, and a VLAN's tag.
        for kind in [[0x86, 0xdd], [0x81, 0x00]] {
            other[12..14].copy_from_slice(&kind);
            assert_eq!(target(&other), None);
        }
        // A header of another version, and lengths that cannot be.
        for first in [0x65, 0x44, 0x40, 0x4f] {
            let mut odd = whole.clone();
            odd[ETHERNET] = first;
            assert_eq!(target(&odd), None, "{first:#x}");
        }
        for length in 0..ETHERNET + IPV4 {
            assert_eq!(target(&whole[..length]), None, "{length}");
            assert_eq!(refusal(&whole[..length], Ipv4Addr::LOCALHOST), None, "{length}");
        }
        assert_eq!(target(&[&[0; 12], &TYPE_ARP[..]].concat()), Some(Target::Link));
    }

    #[test]
    fn every_neighbour_has_the_one_address_and_the_guest_its_own() {
        let (guest, mac) = (Ipv4Addr::new(10, 0, 2, 15), [2, 0, 0, 0, 0, 9]);
        let (asker, other) = ([2, 0, 0, 0, 0, 1], Ipv4Addr::new(10, 0, 2, 77));
        let answer = neighbour(&question(asker, guest, other), guest, mac).unwrap();
        assert!(is_answer(&answer) && !is_answer(&question(asker, guest, other)));
        assert_eq!((&answer[..6], &answer[6..12]), (&asker[..], &mac[..]));
        assert_eq!((&answer[22..28], &answer[28..32]), (&mac[..], &[10, 0, 2, 77][..]));
        assert_eq!((&answer[32..38], &answer[38..]), (&asker[..], &[10, 0, 2, 15][..]));
        // It looks whether somebody else has its address, and tells that it has.
        for sender in [Ipv4Addr::UNSPECIFIED, guest] {
            assert_eq!(neighbour(&question(asker, sender, guest), guest, mac), None);
        }
        assert_eq!(neighbour(&question(asker, other, other), guest, mac), None);
        assert_eq!(neighbour(&answer, guest, mac), None);
        let short = &question(asker, guest, other)[..41];
        assert_eq!(neighbour(short, guest, mac), None);
    }

    #[test]
    fn a_refusal_quotes_what_it_refuses_and_its_sums_are_right() {
        let frame = packet([127, 0, 0, 1], 6, 80);
        let router = Ipv4Addr::new(10, 0, 2, 2);
        let answer = refusal(&frame, router).unwrap();
        assert_eq!(&answer[..12], &[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1]);
        let (ip, icmp) = answer[ETHERNET..].split_at(IPV4);
        assert_eq!((checksum(ip), checksum(icmp)), ([0; 2], [0; 2]));
        assert_eq!((&ip[12..16], &ip[16..20]), (&[10, 0, 2, 2][..], &[10, 0, 2, 15][..]));
        assert_eq!(&icmp[..2], &[3, 13]);
        assert_eq!(&icmp[ICMP..], &frame[ETHERNET..ETHERNET + IPV4 + 8]);
    }

    #[test]
    fn neither_errors_nor_many_hosts_are_answered() {
        let router = Ipv4Addr::new(10, 0, 2, 2);
        assert_eq!(refusal(&packet([127, 0, 0, 1], PROTOCOL_ICMP, 0), router), None);
        assert_eq!(refusal(&packet([224, 0, 0, 251], 17, 5353), router), None);
        assert_eq!(refusal(&packet([255; 4], 17, 67), router), None);
    }
}
