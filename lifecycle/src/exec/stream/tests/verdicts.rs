//! What a command tells beside its output.

use super::*;

/// Runs a command that may tell a verdict; its status, the verdict, and what it wrote.
async fn judged(channel: &Channel, text: &str) -> (u8, String, String) {
    let (mut stdout, mut verdict) = (Vec::new(), Vec::new());
    let streams = Streams::to(&mut stdout, tokio::io::sink()).telling(&mut verdict);
    let command = sh(text);
    let ended = tokio::time::timeout(LIMIT, run(channel, &command, streams)).await;
    let status = ended.expect("a command ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status, text(verdict), text(stdout))
}

#[tokio::test]
async fn a_verdict_is_what_is_in_its_file_at_the_commands_end() {
    let (channel, _agent) = agent();
    let script = r"printf '\003\0\0\0yes no' >&3; echo said; ls /proc/self/fd; exit 7";
    let (status, verdict, stdout) = judged(&channel, script).await;
    assert_eq!((status, &verdict[..]), (7, "yes"));
    // The fifth is the directory itself.
    assert_eq!(stdout, "said\n0\n1\n2\n3\n4\n");
    let none = "printf '\\003\\0\\0\\0yes'; echo error >&2";
    assert_eq!(judged(&channel, none).await, (0, String::new(), "\u{3}\0\0\0yes".to_owned()));
    // Of the last one's file nothing is left.
    assert_eq!(judged(&channel, "kill -9 $$").await, (137, String::new(), String::new()));
    let (_, stdout, _) = told(&channel, "ls /proc/self/fd").await;
    assert_eq!(stdout, b"0\n1\n2\n3\n");
}

#[tokio::test]
async fn a_verdict_has_a_longest_and_its_file_one_size() {
    let (channel, _agent) = agent();
    let filled = |head: &str| format!("(printf '{head}'; yes | tr -d '\\n' | head -c 65532) >&3");
    // 65532, 65533, and more than there could ever be.
    for (head, length) in [(r"\374\377\0\0", 65532), (r"\375\377\0\0", 0), (r"\377\377\377\377", 0)]
    {
        let (status, verdict, _) = judged(&channel, &filled(head)).await;
        assert_eq!((status, verdict.len()), (0, length), "{head}");
        assert!(verdict.bytes().all(|byte| byte == b'y'), "{head}");
    }
    let script = "head -c 65537 /dev/zero >&3 || truncate -s 1 /proc/self/fd/3 || echo neither";
    assert_eq!(judged(&channel, script).await.2, "neither\n");
}

#[tokio::test]
async fn who_holds_a_verdicts_file_keeps_nobody_waiting() {
    let (channel, _agent) = agent();
    let quickly = async || {
        let began = std::time::Instant::now();
        let script = r"printf '\003\0\0\0yes' >&3; sleep 600 >/dev/null 2>&1 & exit 0";
        let ended = judged(&channel, script).await;
        assert_eq!(ended, (0, "yes".to_owned(), String::new()));
        began.elapsed() < LINGER
    };
    // A busy host may take that long itself.
    let quick = quickly().await || quickly().await || quickly().await;
    channel.signal(Signal::KILL).await;
    assert!(quick, "waited for a child");
}

/// A channel to somebody who says this as soon as a command is started.
fn said_by_another(frames: Vec<u8>) -> Channel {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::spawn(async move {
        let (mut input, mut output) = theirs.into_split();
        input.read_u32_le().await.unwrap();
        drop(output.write_all(&frames).await);
        // It stays until the other side has had enough.
        drop(tokio::io::copy(&mut input, &mut tokio::io::sink()).await);
    });
    Channel::over(ours)
}

#[tokio::test]
async fn a_verdict_that_nobody_asked_for_or_that_has_no_end_is_an_error() {
    let piece = |length: usize| {
        let head = [5_u32, 1, length.try_into().unwrap()].map(u32::to_le_bytes).concat();
        [head, vec![b'x'; length]].concat()
    };
    let status = [4_u32, 1, 4, 0].map(u32::to_le_bytes).concat();
    let status_and_more = [4_u32, 1, 8, 0, 7].map(u32::to_le_bytes).concat();
    let program = program(["true"]);
    let judged = async |frames: Vec<u8>, verdict: Option<&mut Vec<u8>>| {
        let channel = said_by_another(frames);
        let streams = Streams::to(tokio::io::sink(), tokio::io::sink());
        let streams = match verdict {
            Some(verdict) => streams.telling(verdict),
            None => streams,
        };
        let ended = tokio::time::timeout(LIMIT, run(&channel, &program, streams)).await;
        ended.expect("a command ends")
    };
    let (mut once, mut flood) = (Vec::new(), Vec::new());
    let pieces = [piece(PIECE), piece(1), status_and_more.clone()].concat();
    assert_eq!(judged(pieces, Some(&mut once)).await.unwrap(), 0);
    assert_eq!(once.len(), PIECE + 1 + 4);
    for unasked in [[piece(1), status].concat(), status_and_more] {
        let unasked = judged(unasked, None).await;
        assert!(matches!(unasked, Err(ExecError::Io(_))), "{unasked:?}");
    }
    let endless = judged(piece(PIECE).repeat(1000), Some(&mut flood)).await;
    assert!(matches!(endless, Err(ExecError::Io(_))), "{endless:?}");
    assert!(flood.len() <= verdict::LONGEST, "{}", flood.len());
}
