//! The gate between a VMM and `passt`: a process that passes the guest's frames on, but for those that
//! would reach the host or what else is out of its [`Reach`].
//!
//! ```text
//!  guest ── QEMU ── gate ── passt ── the host's own sockets
//!             what may not pass is answered, as by a router
//! ```
//!
//! `passt` makes a connection of the host's of whatever the guest sends, and of the versions there are
//! some connect to 127.0.0.1 if a guest's packet says so. Nothing but the gate keeps a guest from the
//! host's own addresses. The gate ends when either side does.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::frame::{Target, is_answer, is_arp, neighbour, question, refusal, target};
use super::passt::MAC;
use super::{FORWARDER, GATEWAY, GUEST, Reach};

/// The longest frame that QEMU sends, in bytes.
const LONGEST: usize = 4096 + 65536;

/// The longest that a guest's may be to pass. Written in one piece it is in the socket as one, too, so
/// that `passt` reads no part of it: it would take the rest for the beginning of another.
const LONGEST_TO_PASS: usize = 16384;

/// How many bytes are sent until `passt` has answered that it read them all.
///
/// It reads some 16 MiB at a time, and (as of 2023) loses up to four bytes that are left of the next
/// frame then: where frames came faster than it reads, the guest would choose what is taken for a frame
/// from then on, and what passes. An answer comes once a reading is done.
const WINDOW: usize = 4 << 20;

/// How long it is known whether an address is the host's, and of how many.
const FRESH: Duration = Duration::from_secs(1);
const KNOWN: usize = 4096;

/// Passes frames on until one side is gone.
///
/// # Errors
/// Where a thread cannot be started, or a side sends what is none of its protocol.
pub fn run(vmm: UnixStream, passt: UnixStream, reach: Reach) -> io::Result<()> {
    // Whole frames: those of `passt` and our own answers go the same way.
    let to_guest = Mutex::new(vmm.try_clone()?);
    let (answer, answers) = mpsc::channel();
    let ended = |of: io::Result<()>| {
        // So that the other direction ends as well.
        let closed = [vmm.shutdown(Shutdown::Both), passt.shutdown(Shutdown::Both)];
        of.and(closed.into_iter().collect::<io::Result<()>>().or(Ok(())))
    };
    thread::scope(|scope| {
        let inward = || ended(pass_inward(&passt, &to_guest, answer));
        let inward = thread::Builder::new().spawn_scoped(scope, inward)?;
        let outlet = Outlet { passt: &passt, sent: 0, answers };
        let outward = ended(pass_outward(&vmm, outlet, &to_guest, &mut Gate::new(reach)));
        inward.join().unwrap_or(Ok(())).and(outward)
    })
}

/// From the guest.
fn pass_outward(
    vmm: &UnixStream,
    mut outlet: Outlet<'_>,
    to_guest: &Mutex<UnixStream>,
    gate: &mut Gate,
) -> io::Result<()> {
    let mut vmm = BufReader::with_capacity(1 << 17, vmm);
    let mut buffer = Vec::new();
    while read_frame(&mut vmm, &mut buffer)? {
        match gate.judge(&buffer[4..]) {
            Verdict::Passes => {
                if outlet.send(&buffer).is_none() {
                    break;
                }
            }
            Verdict::Answered(answer) => {
                let mut to_guest = to_guest.lock().unwrap_or_else(PoisonError::into_inner);
                if to_guest.write_all(&prefixed(&answer)).is_err() {
                    break;
                }
            }
            Verdict::Dropped => {}
        }
    }
    Ok(())
}

/// To the guest. Of ARP there are only answers to us.
fn pass_inward(
    passt: &UnixStream,
    to_guest: &Mutex<UnixStream>,
    answer: Sender<()>,
) -> io::Result<()> {
    let mut passt = BufReader::with_capacity(1 << 17, passt);
    let mut buffer = Vec::new();
    while read_frame(&mut passt, &mut buffer)? {
        if is_arp(&buffer[4..]) {
            if is_answer(&buffer[4..]) && answer.send(()).is_err() {
                break;
            }
            continue;
        }
        let mut to_guest = to_guest.lock().unwrap_or_else(PoisonError::into_inner);
        if to_guest.write_all(&buffer).is_err() {
            break;
        }
    }
    Ok(())
}

/// Reads a frame and what is before it, its length in four bytes; `false` at the end.
fn read_frame(from: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.resize(4, 0);
    let length = match from.read_exact(buffer) {
        Ok(()) => u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize,
        Err(error) if is_end(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    if length > LONGEST {
        let what = format!("a frame of {length} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    buffer.resize(4 + length, 0);
    match from.read_exact(&mut buffer[4..]) {
        Err(error) if is_end(&error) => Ok(false),
        read => read.map(|()| true),
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

/// A frame with its length before it.
pub(crate) fn prefixed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap_or_default();
    [&length.to_be_bytes(), frame].concat()
}

/// The way to `passt`, which is never sent more at a time than it reads in order.
struct Outlet<'a> {
    passt: &'a UnixStream,
    /// How much since it last answered.
    sent: usize,
    answers: Receiver<()>,
}

impl Outlet<'_> {
    /// Sends an IPv4 frame that has its length before it; `None` where `passt` is gone.
    fn send(&mut self, frame: &[u8]) -> Option<()> {
        if self.sent + frame.len() > WINDOW {
            // In the guest's name: what `passt` sends is sent to who was heard last.
            let mac = *frame[10..].first_chunk().unwrap_or(&[0; 6]);
            self.write(&prefixed(&question(mac, GUEST, GATEWAY)))?;
            self.answers.recv().ok()?;
            self.sent = 0;
        }
        self.sent += frame.len();
        self.write(frame)
    }

    fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.passt.write_all(bytes).ok()
    }
}

/// What becomes of a frame.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passes,
    /// It does not, and the guest is sent this.
    Answered(Vec<u8>),
    Dropped,
}

/// What is not passed on, but answered where there is an answer.
fn answered(answer: Option<Vec<u8>>) -> Verdict {
    answer.map_or(Verdict::Dropped, Verdict::Answered)
}

/// What is known of where frames may go.
struct Gate {
    reach: Reach,
    known: HashMap<Ipv4Addr, (bool, Instant)>,
    /// Whether an address is the host's own.
    is_own: fn(Ipv4Addr) -> bool,
}

impl Gate {
    fn new(reach: Reach) -> Self {
        Self { reach, known: HashMap::new(), is_own }
    }

    fn judge(&mut self, frame: &[u8]) -> Verdict {
        if frame.len() > LONGEST_TO_PASS {
            return Verdict::Dropped;
        }
        match target(frame) {
            None => Verdict::Dropped,
            Some(Target::Link) => answered(neighbour(frame, GUEST, MAC)),
            Some(Target::Address { address, asks_dns }) => {
                let passes = match address {
                    FORWARDER => asks_dns,
                    // Of the guest's link: of no network that the host is in.
                    GATEWAY => false,
                    _ => !self.reach.excludes(address) && !self.is_own(address),
                };
                if passes { Verdict::Passes } else { answered(refusal(frame, GATEWAY)) }
            }
        }
    }

    /// The same, asked of the host now and then only.
    fn is_own(&mut self, address: Ipv4Addr) -> bool {
        let now = Instant::now();
        if let Some((own, since)) = self.known.get(&address)
            && now.duration_since(*since) < FRESH
        {
            return *own;
        }
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        let own = (self.is_own)(address);
        self.known.insert(address, (own, now));
        own
    }
}

/// Whether an address is one of this host's, or of all on a link of it: what goes to an own address
/// leaves under that same one. Sends nothing.
pub(super) fn is_own(address: Ipv4Addr) -> bool {
    let sender = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((address, 9))?;
        socket.local_addr()
    };
    match sender() {
        Ok(sender) => sender.ip() == address,
        // A broadcast address; where there is no route, there is nothing.
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::packet;
    use super::*;

    /// A gate on a host whose one own address is 192.0.2.2.
    fn gate(reach: Reach) -> Gate {
        Gate { is_own: |address| address == Ipv4Addr::new(192, 0, 2, 2), ..Gate::new(reach) }
    }

    fn passes(reach: Reach, to: [u8; 4], protocol: u8, port: u16) -> bool {
        gate(reach).judge(&packet(to, protocol, port)) == Verdict::Passes
    }

    #[test]
    fn nothing_reaches_the_host() {
        for reach in [Reach::Outside, Reach::Internet] {
            for host in [[127, 0, 0, 1], [127, 9, 9, 9], [0; 4], [192, 0, 2, 2], [10, 0, 2, 2]] {
                for protocol in [1, 6, 17] {
                    assert!(!passes(reach, host, protocol, 80), "{reach:?} {host:?} {protocol}");
                }
            }
            // Who listens to many on the host hears what is sent to all.
            assert!(!passes(reach, [224, 0, 0, 251], 17, 5353));
            assert!(passes(reach, [9, 9, 9, 9], 6, 443));
        }
        assert!(passes(Reach::Outside, [192, 168, 1, 1], 6, 80));
        assert!(!passes(Reach::Internet, [192, 168, 1, 1], 6, 80));
        assert!(!passes(Reach::Internet, [169, 254, 169, 254], 6, 80));
    }

    #[test]
    fn the_forwarder_of_names_is_asked_for_names_only() {
        for reach in [Reach::Outside, Reach::Internet] {
            assert!(passes(reach, [10, 0, 2, 3], 17, 53));
            assert!(!passes(reach, [10, 0, 2, 3], 17, 54));
            assert!(!passes(reach, [10, 0, 2, 3], 6, 53));
        }
    }

    #[test]
    fn the_hosts_own_addresses_are_known() {
        assert!(is_own(Ipv4Addr::LOCALHOST));
        assert!(!is_own(Ipv4Addr::new(240, 0, 0, 1)));
    }

    /// A gate, with what is on its two sides.
    fn between() -> (UnixStream, UnixStream, thread::JoinHandle<io::Result<()>>) {
        let ((ours, vmm), (theirs, passt)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        (ours, theirs, thread::spawn(move || run(vmm, passt, Reach::Internet)))
    }

    #[track_caller]
    fn next(from: &UnixStream) -> Vec<u8> {
        let mut buffer = Vec::new();
        assert!(read_frame(&mut &*from, &mut buffer).unwrap());
        buffer.split_off(4)
    }

    #[test]
    fn what_may_pass_passes_as_it_is_and_what_may_not_is_answered() {
        let (ours, theirs, gate) = between();
        let (good, bad) = (packet([9, 9, 9, 9], 6, 80), packet([127, 0, 0, 1], 6, 80));
        let long = [&good[..], &[0; LONGEST_TO_PASS]].concat();
        let asking = question([2; 6], GUEST, GATEWAY);
        let sent = [&long, &bad, &asking, &good].map(|frame| prefixed(frame));
        (&ours).write_all(&sent.concat()).unwrap();
        assert_eq!(next(&ours), refusal(&bad, GATEWAY).unwrap());
        assert_eq!(next(&ours), neighbour(&asking, GUEST, MAC).unwrap());
        assert_eq!(next(&theirs), good);
        (&theirs).write_all(&prefixed(b"as it is")).unwrap();
        assert_eq!(next(&ours), b"as it is");
        drop(theirs);
        gate.join().unwrap().unwrap();
        assert!(!read_frame(&mut &ours, &mut Vec::new()).unwrap());
    }

    #[test]
    fn no_more_is_sent_than_passt_reads_at_a_time() {
        let (ours, theirs, gate) = between();
        let frame = [&packet([9, 9, 9, 9], 6, 80)[..], &[0; 8192]].concat();
        let total = 2 * WINDOW / frame.len();
        let sending = thread::spawn(move || {
            (0..total).for_each(|_| (&ours).write_all(&prefixed(&frame)).unwrap());
            ours
        });
        let (mut since, mut answered, mut received) = (0, 0, 0);
        while received < total {
            let frame = next(&theirs);
            if is_arp(&frame) {
                let answer = neighbour(&frame, GUEST, MAC).unwrap();
                (&theirs).write_all(&prefixed(&answer)).unwrap();
                (since, answered) = (0, answered + 1);
                continue;
            }
            (since, received) = (since + 4 + frame.len(), received + 1);
            assert!(since <= WINDOW);
        }
        assert!(answered > 0);
        drop(sending.join().unwrap());
        gate.join().unwrap().unwrap();
    }

    #[test]
    fn a_length_that_cannot_be_ends_it() {
        let ((ours, vmm), (_theirs, passt)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        (&ours).write_all(&u32::MAX.to_be_bytes()).unwrap();
        let error = run(vmm, passt, Reach::Outside).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
