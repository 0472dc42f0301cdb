//! Servers that lie: each ends the pull, soon and with an error that says what it did, and leaves
//! nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;

use super::*;
use crate::sync::{ServerFault, Session, silence};

const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRIBUTES: u8 = 105;
const EXTENDED: u8 = 201;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// A request as the server has it: its type, and what follows its number.
struct Asked<'a> {
    kind: u8,
    rest: &'a [u8],
    /// How many of this type came before.
    number: u32,
}

impl Asked<'_> {
    /// How many bytes a read asks for.
    fn wanted(&self) -> usize {
        u32::from_be_bytes(*self.rest.last_chunk().unwrap()) as usize
    }
}

/// What the server does with a request.
enum Answer {
    /// Answers it.
    With(u8, Vec<u8>),
    /// Sends just these bytes, in which the number stands for itself.
    Raw(Vec<u8>),
    /// Sends bytes without an end.
    Endless(Vec<u8>),
    Nothing,
}

use Answer::{Endless, Nothing, Raw, With};

fn string(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn attributes(mode: u32, size: u64) -> Vec<u8> {
    [&5_u32.to_be_bytes()[..], &size.to_be_bytes(), &mode.to_be_bytes()].concat()
}

fn status(code: u32) -> Answer {
    With(STATUS, [&code.to_be_bytes()[..], &string(""), &string("")].concat())
}

fn names(names: &[(&str, u32)]) -> Answer {
    let mut body = u32::try_from(names.len()).unwrap().to_be_bytes().to_vec();
    for (name, mode) in names {
        body.extend([string(name), string(""), attributes(*mode, 1)].concat());
    }
    With(NAME, body)
}

/// What a server does that has a directory of these names.
fn tree(asked: &Asked<'_>, listed: &[(&str, u32)]) -> Answer {
    match asked.kind {
        7 => With(ATTRIBUTES, attributes(DIRECTORY, 0)),
        3 | 11 => With(HANDLE, string("h")),
        12 if asked.number == 0 => names(listed),
        12 => status(1),
        5 if asked.number == 0 => With(DATA, string("x")),
        5 => status(1),
        _ => status(0),
    }
}

/// Answers requests until nobody listens.
async fn serve(
    mut pipe: DuplexStream,
    version: Vec<u8>,
    mut answer: impl FnMut(&Asked<'_>) -> Answer,
) -> Option<()> {
    let mut counts = [0; 256];
    loop {
        let length = pipe.read_u32().await.ok()?;
        let mut packet = vec![0; length as usize];
        pipe.read_exact(&mut packet).await.ok()?;
        if packet[0] == 1 {
            pipe.write_all(&string(&version)).await.ok()?;
            continue;
        }
        let number = counts[usize::from(packet[0])];
        counts[usize::from(packet[0])] += 1;
        let (head, rest) = packet.split_at(5);
        match answer(&Asked { kind: head[0], rest, number }) {
            With(kind, body) => {
                let packet = string([&[kind], &head[1..], &body].concat());
                pipe.write_all(&packet).await.ok()?;
            }
            Raw(bytes) => pipe.write_all(&bytes).await.ok()?,
            Endless(bytes) => loop {
                pipe.write_all(&bytes).await.ok()?;
            },
            Nothing => {}
        }
    }
}

/// The version of the protocol, and no extensions.
fn plain_version() -> Vec<u8> {
    vec![2, 0, 0, 0, 3]
}

async fn open(
    version: Vec<u8>,
    answer: impl FnMut(&Asked<'_>) -> Answer + Send + 'static,
) -> Result<Session, SyncError> {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    drop(tokio::spawn(serve(theirs, version, answer)));
    let (output, input) = tokio::io::split(ours);
    Session::open(input, output).await
}

/// Pulls from such a server: what came of it, and the host's directory.
async fn outcome(
    answer: impl FnMut(&Asked<'_>) -> Answer + Send + 'static,
) -> (Result<Fetched, SyncError>, tempfile::TempDir) {
    let session = open(plain_version(), answer).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let host = directory.path().join("inner/host");
    let wanted = Wanted {
        guest: Path::new("/out"),
        host: &host,
        handle: super::HANDLE,
        options: PullOptions { max_bytes: 1 << 20, max_entries: 100_000, ..PullOptions::default() },
    };
    let outcome = pull(&session, wanted, |_| Ok(()), |_, _| {}).await;
    (outcome, directory)
}

async fn error(answer: impl FnMut(&Asked<'_>) -> Answer + Send + 'static) -> SyncError {
    let (outcome, directory) = outcome(answer).await;
    let error = outcome.unwrap_err();
    let inner = fs::read_dir(directory.path().join("inner"));
    assert_eq!(inner.map_or(0, Iterator::count), 0, "{error}");
    error
}

async fn fault(answer: impl FnMut(&Asked<'_>) -> Answer + Send + 'static) -> ServerFault {
    match error(answer).await {
        SyncError::Server(fault) => fault,
        other => panic!("no fault of the server's: {other:?}"),
    }
}

#[tokio::test]
async fn names_that_lead_elsewhere_are_refused() {
    for name in ["../evil", "/tmp/evil", "a/../../evil", "sub/evil", "nul\0", ""] {
        let error = error(move |asked| tree(asked, &[("fine", FILE), (name, FILE)])).await;
        assert!(matches!(error, SyncError::Refused { .. }), "{name:?}: {error:?}");
    }
    let long = "x".repeat(256);
    let error = error(move |asked| tree(asked, &[(&long, FILE)])).await;
    assert!(error.to_string().ends_with("longer than 255 bytes"), "{error}");
}

#[tokio::test]
async fn the_same_name_twice_is_refused_whatever_it_is() {
    for kinds in [[LINK, DIRECTORY], [FILE, FILE], [DIRECTORY, FILE], [DIRECTORY, DIRECTORY]] {
        let answer = move |asked: &Asked<'_>| match asked.kind {
            19 => names(&[("near", 0)]),
            _ => tree(asked, &kinds.map(|kind| ("x", kind))),
        };
        let error = error(answer).await;
        assert!(matches!(error, SyncError::Refused { .. }), "{error:?}");
        assert!(error.to_string().ends_with("the same name came twice"), "{error}");
    }
}

#[tokio::test]
async fn figures_that_do_not_fit_end_the_session() {
    let of_packet = |length: u32| {
        move |asked: &Asked<'_>| match asked.kind {
            7 => Endless(length.to_be_bytes().to_vec()),
            _ => tree(asked, &[]),
        }
    };
    for length in [0, 4, (256 << 10) + 1, u32::MAX] {
        assert_eq!(fault(of_packet(length)).await, ServerFault::Length { length });
    }
    for count in [5, 5000, u32::MAX] {
        let answer = move |asked: &Asked<'_>| match asked.kind {
            12 => With(NAME, [&count.to_be_bytes()[..], &[0; 50]].concat()),
            _ => tree(asked, &[]),
        };
        assert_eq!(fault(answer).await, ServerFault::Names { count, length: 54 });
    }
    let beyond = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    let answer = move |asked: &Asked<'_>| match asked.kind {
        12 => With(NAME, beyond.to_vec()),
        _ => tree(asked, &[]),
    };
    assert_eq!(fault(answer).await, ServerFault::Malformed { what: "a name" });
    let answer = |asked: &Asked<'_>| match asked.kind {
        11 => With(HANDLE, vec![0xff; 4]),
        _ => tree(asked, &[]),
    };
    assert_eq!(fault(answer).await, ServerFault::Malformed { what: "a handle" });
    let answer = |asked: &Asked<'_>| match asked.kind {
        7 => With(ATTRIBUTES, [0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff].to_vec()),
        _ => tree(asked, &[]),
    };
    assert_eq!(fault(answer).await, ServerFault::Malformed { what: "attributes" });
}

#[tokio::test]
async fn an_answer_to_no_request_or_of_the_wrong_type_ends_the_session() {
    let answer = |asked: &Asked<'_>| match asked.kind {
        7 => Raw([&9_u32.to_be_bytes()[..], &[STATUS], &77_u32.to_be_bytes(), &[0; 4]].concat()),
        _ => tree(asked, &[]),
    };
    assert_eq!(fault(answer).await, ServerFault::Unasked { id: 77 });
    for kind in [2, DATA, NAME, EXTENDED, 0, 255] {
        let answer = move |asked: &Asked<'_>| match asked.kind {
            7 => With(kind, vec![0; 64]),
            _ => tree(asked, &[]),
        };
        assert_eq!(fault(answer).await, ServerFault::Type { kind, expected: "attributes" });
    }
}

#[tokio::test]
async fn no_more_data_comes_than_was_asked_for() {
    let sends = |length: usize, claimed: u32| {
        move |asked: &Asked<'_>| match asked.kind {
            7 => With(ATTRIBUTES, attributes(FILE, 10)),
            5 => With(DATA, [&claimed.to_be_bytes()[..], &vec![7; length]].concat()),
            _ => tree(asked, &[]),
        }
    };
    assert_eq!(fault(sends(11, 11)).await, ServerFault::Data { sent: 11, asked: 10 });
    assert_eq!(fault(sends(11, 10)).await, ServerFault::Malformed { what: "data" });
    assert_eq!(fault(sends(0, u32::MAX)).await, ServerFault::Malformed { what: "data" });
    // A packet of 50 MB is none.
    let answer = move |asked: &Asked<'_>| match asked.kind {
        7 => With(ATTRIBUTES, attributes(FILE, 10)),
        5 => Endless((50_000_000_u32).to_be_bytes().to_vec()),
        _ => tree(asked, &[]),
    };
    assert_eq!(fault(answer).await, ServerFault::Length { length: 50_000_000 });
}

#[tokio::test]
async fn a_file_shorter_than_it_says_is_as_long_as_it_is() {
    let answer = |asked: &Asked<'_>| match asked.kind {
        7 => With(ATTRIBUTES, attributes(FILE, 1 << 20)),
        _ => tree(asked, &[]),
    };
    let (outcome, directory) = outcome(answer).await;
    assert_eq!(outcome.unwrap().bytes, 1);
    assert_eq!(fs::metadata(directory.path().join("inner/host")).unwrap().len(), 1);
}

#[tokio::test]
async fn what_has_no_end_is_ended_by_its_bound() {
    // A file that says nothing of its length.
    let answer = |asked: &Asked<'_>| match asked.kind {
        7 => With(ATTRIBUTES, attributes(FILE, 0)),
        5 => With(DATA, string(vec![7; asked.wanted()])),
        _ => tree(asked, &[]),
    };
    let error = error(answer).await;
    assert_eq!(error.to_string(), "`/out` in the guest holds more than 1 MiB (1048576 bytes)");
    // One that says too much.
    let answer = |asked: &Asked<'_>| match asked.kind {
        7 => With(ATTRIBUTES, attributes(FILE, u64::MAX - 10)),
        _ => tree(asked, &[]),
    };
    assert!(matches!(super::hostile::error(answer).await, SyncError::FetchTooLarge { .. }));
    // A directory.
    let answer = |asked: &Asked<'_>| match asked.kind {
        12 => {
            let listed: Vec<_> =
                (0..1000).map(|at| format!("{:0200}", asked.number * 1000 + at)).collect();
            names(&listed.iter().map(|name| (name.as_str(), FILE)).collect::<Vec<_>>())
        }
        _ => tree(asked, &[]),
    };
    let error = super::hostile::error(answer).await;
    let expected = "`/out` in the guest has more than 100000 files, directories and links";
    assert_eq!(error.to_string(), expected);
    // Directories in directories.
    let answer = |asked: &Asked<'_>| match asked.kind {
        12 if asked.number.is_multiple_of(2) => names(&[("d", DIRECTORY)]),
        12 => status(1),
        _ => tree(asked, &[]),
    };
    let error = super::hostile::error(answer).await;
    assert_eq!(error.to_string(), "`/out` in the guest is more than 128 directories deep");
}

#[tokio::test]
async fn a_server_that_opens_with_nonsense_opens_nothing() {
    let limits = |read: u64, packet: u64| {
        move |asked: &Asked<'_>| match asked.kind {
            200 => With(EXTENDED, [packet, read, read, 0].map(u64::to_be_bytes).concat()),
            _ => tree(asked, &[]),
        }
    };
    let with_limits = || [plain_version(), string("limits@openssh.com"), string("1")].concat();
    let opened = async |version, read, packet| open(version, limits(read, packet)).await;
    for (read, packet) in [(u64::MAX, 0), (u64::MAX, 299), (1, 1 << 18), (0, 0)] {
        let error = opened(with_limits(), read, packet).await.unwrap_err();
        let limits = matches!(error, SyncError::Server(ServerFault::Limits { .. }));
        assert!(limits, "{error:?}");
    }
    for (read, packet) in [(0, 1 << 18), (u64::MAX, u64::MAX), (261_120, 262_144)] {
        opened(with_limits(), read, packet).await.unwrap();
    }
    let beyond = [plain_version(), vec![0xff; 4]].concat();
    let error = opened(beyond, 0, 0).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the guest's SFTP server sent a version that does not fit its packet"
    );
    let error = opened(vec![STATUS, 0, 0, 0, 3], 0, 0).await.unwrap_err();
    assert!(error.to_string().ends_with("of type 101: expected its version"), "{error}");
    opened(vec![2, 0, 0, 0, 9], 0, 0).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_is_given_up_after_thirty_seconds() {
    let silent = ServerFault::Silent { seconds: silence::QUIET };
    let began = Instant::now();
    // At the first request; in the midst of a packet; at the content.
    let answer = |asked: &Asked<'_>| match asked.kind {
        7 => Nothing,
        _ => tree(asked, &[]),
    };
    assert_eq!(fault(answer).await, silent);
    assert_eq!(silent.to_string(), "the guest's SFTP server sent nothing for 30 s");
    let answer = |asked: &Asked<'_>| match asked.kind {
        11 => Raw(vec![0, 0, 0, 10, HANDLE]),
        _ => tree(asked, &[]),
    };
    assert_eq!(fault(answer).await, silent);
    let answer = |asked: &Asked<'_>| match asked.kind {
        5 => Nothing,
        _ => tree(asked, &[("x", FILE)]),
    };
    assert_eq!(fault(answer).await, silent);
    assert!(began.elapsed() < Duration::from_secs(3 * 40), "{:?}", began.elapsed());

    // It does not even say which version it is; it takes nothing more.
    let (ours, _theirs) = tokio::io::duplex(4);
    let (output, input) = tokio::io::split(ours);
    let error = Session::open(input, output).await.unwrap_err();
    assert!(matches!(error, SyncError::Server(ServerFault::Silent { .. })), "{error:?}");
}

#[tokio::test]
async fn a_server_s_words_are_cut_short() {
    let answer = |asked: &Asked<'_>| match asked.kind {
        7 => {
            With(STATUS, [&4_u32.to_be_bytes()[..], &string([b'n'; 10_000]), &string("")].concat())
        }
        _ => tree(asked, &[]),
    };
    let text = error(answer).await.to_string();
    assert!(text.starts_with("cannot find `/out` in the guest: nnn"), "{text}");
    assert!(text.len() < 300, "{} bytes", text.len());
}

#[tokio::test]
async fn where_a_link_leads_is_the_server_s_word_too() {
    let target = |target: &'static str| {
        move |asked: &Asked<'_>| match asked.kind {
            19 => names(&[(target, 0)]),
            _ => tree(asked, &[("x", LINK), ("y", FILE)]),
        }
    };
    let (fetched, _directory) = outcome(target("/etc/passwd")).await;
    assert_eq!(fetched.unwrap().skipped.first, [("/out/x".into(), true)]);
    let long: &'static str = Box::leak("x/".repeat(10_000).into_boxed_str());
    let error = error(target(long)).await;
    assert!(error.to_string().starts_with("cannot write `"), "{error}");
}
