//! An agent that a guest has replaced by something of its own.

use super::*;

/// A channel, and our end of what an agent that a guest has replaced sends and is sent.
fn taken_over() -> (Channel, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Channel::over(ours), theirs)
}

/// A frame of the agent's.
fn frame(kind: u32, command: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap();
    [&[kind, command, length].map(u32::to_le_bytes).concat(), body].concat()
}

#[tokio::test]
async fn a_flood_of_frames_that_are_nobodys_is_dropped() {
    let (channel, mut agent) = taken_over();
    let flooding = async {
        let nobodys = [frame(1, 99, &[b'A'; PIECE]), frame(4, 99, &[0; 4]), frame(3, 99, b"x")];
        let flood = nobodys.concat().repeat(4);
        for _ in 0..1000 {
            agent.write_all(&flood).await.unwrap();
        }
        let ends = [frame(1, 1, b"own"), frame(1, 1, b""), frame(2, 1, b""), frame(4, 1, &[0; 4])];
        agent.write_all(&ends.concat()).await.unwrap();
        agent
    };
    let command = sh("anything");
    let (ended, _agent) = tokio::join!(capture(&channel, &command), flooding);
    assert_eq!(ended.unwrap(), (0, b"own".to_vec(), Vec::new()));
}

#[tokio::test]
async fn a_flood_for_a_command_that_is_over_does_not_hold_up_the_next() {
    let (channel, mut agent) = taken_over();
    let end = |command| frame(4, command, &[0; 4]);
    let flooding = async {
        agent.write_all(&end(1)).await.unwrap();
        for _ in 0..1000 {
            agent.write_all(&frame(1, 1, &[b'A'; PIECE])).await.unwrap();
        }
        // Not before there is a second one.
        let mut sent = vec![0; 1];
        while !sent.ends_with(b"second\0") {
            sent.push(agent.read_u8().await.unwrap());
        }
        agent.write_all(&end(2)).await.unwrap();
        agent
    };
    let running = async {
        let (mut stdout, first) = (tokio::io::sink(), sh("first"));
        let streams = Streams::to(&mut stdout, tokio::io::sink());
        drop(tokio::time::timeout(Duration::from_millis(1), run(&channel, &first, streams)).await);
        run(&channel, &sh("second"), Streams::to(tokio::io::sink(), tokio::io::sink())).await
    };
    let (ended, _agent) = tokio::join!(running, flooding);
    assert_eq!(ended.unwrap(), 0);
}

#[tokio::test]
async fn frames_that_are_no_output_do_not_keep_a_command_that_has_ended() {
    let (channel, agent) = taken_over();
    let (_listening, mut agent) = agent.into_split();
    let flooding = async {
        agent.write_all(&frame(4, 1, &[0, 7, 0, 0])).await.unwrap();
        let flood = [frame(3, 1, b""), frame(4, 1, &[0; 4])].concat();
        while agent.write_all(&flood).await.is_ok() {}
    };
    let command = sh("anything");
    let status = tokio::select! {
        ended = capture(&channel, &command) => ended.unwrap().0,
        () = flooding => unreachable!("the channel is open"),
    };
    assert_eq!(status, 7);
}

#[tokio::test]
async fn a_command_of_our_own_may_write_without_end() {
    let (channel, mut agent) = taken_over();
    let flooding = async {
        for _ in 0..1000 {
            agent.write_all(&frame(2, 1, &[b'A'; PIECE])).await.unwrap();
        }
        let ends = [frame(1, 1, b""), frame(2, 1, b""), frame(4, 1, &[0; 4])];
        agent.write_all(&ends.concat()).await.unwrap();
        agent
    };
    let command = sh("anything");
    let (ended, _agent) = tokio::join!(capture(&channel, &command), flooding);
    assert_eq!(ended.unwrap().2.len(), CAPTURED);
}

#[tokio::test]
async fn signals_that_the_guest_does_not_take_do_not_hold_up_its_end() {
    let (channel, agent) = taken_over();
    let (reads_nothing, mut agent) = agent.into_split();
    // More than the connection has room for, and then some.
    let mut interrupt = async || {
        tokio::task::yield_now().await;
        Signal::INT
    };
    let command = sh("anything");
    let streams = Streams::to(tokio::io::sink(), tokio::io::sink());
    let running = run_signalled(&channel, &command, streams, &mut interrupt);
    let ending = async {
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        let ends = [frame(1, 1, b""), frame(2, 1, b""), frame(4, 1, &[0, 9, 0, 0])];
        agent.write_all(&ends.concat()).await.unwrap();
    };
    let (ended, ()) = tokio::join!(tokio::time::timeout(LIMIT, running), ending);
    assert_eq!(ended.expect("the end is seen").unwrap(), 9);
    drop(reads_nothing);
}

#[tokio::test]
async fn what_is_no_frame_ends_the_connection() {
    for nonsense in
        [frame(9, 1, b""), frame(1, 1, &[0; PIECE + 1]), frame(4, 1, b"xx"), vec![b'A'; 64]]
    {
        let (channel, mut agent) = taken_over();
        agent.write_all(&nonsense).await.unwrap();
        let ended = capture(&channel, &sh("anything")).await;
        assert!(matches!(ended, Err(ExecError::NoStatus)), "{ended:?}");
    }
}
