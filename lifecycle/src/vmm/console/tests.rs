//! Consoles as guests write them, and agents at the other end.

use std::io::Cursor;

use tokio::io::{AsyncBufReadExt as _, BufReader, DuplexStream};

use super::*;

#[tokio::test]
async fn signs_are_found_among_the_lines() {
    let text: &[u8] = b"[ 0.1] hello\r\nbanger: cannot mount layer\r\nbanger: ready\r\n";
    let mut console = Console::follow(text, tokio::io::sink(), None);
    assert_eq!(console.sign().await, Some(Sign::Ready));
    console.drained().await;
    assert!(console.tail().starts_with("[ 0.1] hello\nbanger:"));
}

#[tokio::test]
async fn a_panic_is_told_with_its_reason() {
    let text: &[u8] = b"[ 4.6] Kernel panic - not syncing: VFS: no root\n";
    let sign = Console::follow(text, tokio::io::sink(), None).sign().await;
    assert_eq!(sign, Some(Sign::Panicked("VFS: no root".to_owned())));
}

#[tokio::test]
async fn a_guest_that_gave_up_is_not_one_that_switched_itself_off() {
    let off = b"[ 1.2] reboot: Power down\n";
    let sign = Console::follow(&off[..], tokio::io::sink(), None).sign().await;
    assert_eq!(sign, Some(Sign::PoweredOff));
    let text = [&b"banger: gave up: no disk\n"[..], off].concat();
    let mut console = Console::follow(Cursor::new(text), tokio::io::sink(), None);
    console.drained().await;
    assert_eq!(console.last_sign(), Sign::GaveUp("no disk".to_owned()));
}

#[tokio::test]
async fn a_console_that_ends_early_is_no_sign() {
    assert_eq!(Console::follow(&b"bye\n"[..], tokio::io::sink(), None).sign().await, None);
}

#[tokio::test]
async fn a_batch_ends_with_the_agents_own_word() {
    let (ours, theirs) = tokio::io::duplex(4096);
    let (output, input) = tokio::io::split(ours);
    let mut console = Console::follow(output, input, None);
    let agent = async move {
        let (output, mut input) = tokio::io::split(theirs);
        let mut lines = BufReader::new(output).lines();
        let says = ["noise\nbanger: done 1\n", "[ 1.0] oops banger: failed 2 file: error 28\n"];
        for says in says {
            while lines.next_line().await.unwrap().unwrap() != "go" {}
            input.write_all(says.as_bytes()).await.unwrap();
        }
    };
    let host = async move {
        let limit = Duration::from_secs(60);
        let batch = Batch::new().hostname("otter");
        console.perform("naming", &batch, limit).await.unwrap();
        console.perform("naming", &batch, limit).await.unwrap_err().to_string()
    };
    let (error, ()) = tokio::join!(host, agent);
    assert_eq!(error, "the guest failed at naming: file: error 28");
}

/// Both ends of a stream, ours in halves.
fn stream() -> (impl AsyncRead + Unpin + Send, impl AsyncWrite + Unpin + Send, DuplexStream) {
    let (theirs, ours) = tokio::io::duplex(4096);
    let (output, input) = tokio::io::split(ours);
    (output, input, theirs)
}

#[tokio::test]
async fn a_flood_without_line_ends_is_not_kept() {
    let (output, input, mut theirs) = stream();
    let mut console = Console::follow(output, input, None);
    for _ in 0..1000 {
        theirs.write_all(&[b'A'; 65536]).await.unwrap();
    }
    theirs.write_all(b"\nlast\n").await.unwrap();
    drop(theirs);
    console.drained().await;
    let tail = console.tail();
    assert!(tail.len() < TAIL_BYTES + TAIL_LINES, "{}", tail.len());
    assert!(tail.ends_with("A\n\nlast"));
    let longest = tail.lines().map(str::len).max().unwrap();
    assert!(longest <= LONGEST, "{longest}");
}

#[tokio::test]
async fn a_reason_is_no_longer_than_a_line() {
    let text = format!("banger: gave up: {}\n", "A".repeat(1 << 20));
    let sign = Console::follow(Cursor::new(text), tokio::io::sink(), None).sign().await;
    let Some(Sign::GaveUp(reason)) = sign else { panic!("{sign:?}") };
    assert!(reason.len() < LONGEST, "{}", reason.len());
}

#[tokio::test]
async fn among_a_flood_of_answers_the_one_that_is_waited_for_is_found() {
    let (output, input, _theirs) = stream();
    let mut console = Console::follow(output, input, None);
    let (output, input, theirs) = stream();
    console.speak_over(output, input, true);
    let (theirs_output, mut theirs_input) = tokio::io::split(theirs);
    let agent = async move {
        let mut lines = BufReader::new(theirs_output).lines();
        let flood = "banger: done 99999999\nbanger: failed 2 no\n".repeat(10_000);
        for number in 1..4 {
            while lines.next_line().await.unwrap().unwrap() != "go" {}
            theirs_input.write_all(flood.as_bytes()).await.unwrap();
            let answer = format!("banger: done {number}\n");
            theirs_input.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let host = async move {
        let batch = Batch::new().hostname("otter");
        for fails in [false, true, false] {
            let done = console.perform("naming", &batch, Duration::from_secs(60)).await;
            assert_eq!(done.is_err(), fails, "{done:?}");
        }
    };
    tokio::join!(host, agent);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_reads_nothing_is_told() {
    let (output, input, _theirs) = stream();
    let mut console = Console::follow(output, input, None);
    let batch = Batch::new().file("/x", 0o644, &"x".repeat(1 << 16));
    let limit = Duration::from_secs(60);
    let error = console.perform("naming", &batch, limit).await.unwrap_err();
    assert_eq!(error.to_string(), "the guest did not answer within 60 s, at naming");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_silent_is_told() {
    let (_theirs, ours) = tokio::io::duplex(4096);
    let (output, input) = tokio::io::split(ours);
    let mut console = Console::follow(output, input, None);
    let limit = Duration::from_secs(60);
    let error = console.perform("freezing", &Batch::new(), limit).await.unwrap_err();
    assert_eq!(error.to_string(), "the guest did not answer within 60 s, at freezing");
}
