use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A read of so many bytes, number 7; and data for it, so much.
fn read_request(asked: u32) -> Vec<u8> {
    let rest = [&[0, 0, 0, 1, b'h'][..], &[0; 8], &asked.to_be_bytes()].concat();
    packet(5, &rest)
}

fn packet(kind: u8, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(rest.len() + 5).unwrap();
    [&length.to_be_bytes()[..], &[kind, 0, 0, 0, 7], rest].concat()
}

fn data(length: u32) -> Vec<u8> {
    packet(103, &[&length.to_be_bytes()[..], &vec![9; length as usize]].concat())
}

const HELLO: [u8; 9] = [0, 0, 0, 5, 2, 0, 0, 0, 3];

/// What arrives of what the server sends, once the client has sent its requests.
async fn passed(requests: &[u8], replies: &[u8], piece: usize) -> (Vec<u8>, Option<ServerFault>) {
    let ledger = Arc::<Ledger>::default();
    let (to, mut from) = tokio::io::duplex(1 << 20);
    let mut sending = Sending::new(to, Arc::clone(&ledger));
    for part in requests.chunks(piece) {
        sending.write_all(part).await.unwrap();
    }
    drop(sending);
    let mut sent = Vec::new();
    from.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, requests);
    let (mut server, output) = tokio::io::duplex(piece);
    let mut receiving = Receiving::new(output, Arc::clone(&ledger));
    let mut got = Vec::new();
    let replying = async move {
        // The filter may be gone by then.
        drop(server.write_all(replies).await);
    };
    let reading = async {
        let mut part = vec![0; piece];
        while let Ok(read @ 1..) = receiving.read(&mut part).await {
            got.extend_from_slice(&part[..read]);
        }
        drop(receiving);
    };
    tokio::join!(reading, replying);
    (got, ledger.fault())
}

#[tokio::test]
async fn what_an_honest_server_sends_passes_unchanged_however_it_is_cut() {
    let requests = [read_request(100_000), packet(4, &[0, 0, 0, 1, b'h'])].concat();
    let replies = [&HELLO[..], &data(100_000)].concat();
    for piece in [1, 7, 4096, 1 << 20] {
        // The second one has the same number: it is the one that counts.
        let (got, fault) = passed(&requests[..requests.len() - 14], &replies, piece).await;
        assert!(got == replies, "{} of {} bytes", got.len(), replies.len());
        assert_eq!(fault, None);
    }
}

#[tokio::test]
async fn nothing_of_a_packet_that_breaks_a_rule_passes() {
    let replies = [&HELLO[..], &data(11)].concat();
    for piece in [1, 4096] {
        let (got, fault) = passed(&read_request(10), &replies, piece).await;
        assert_eq!(got, HELLO);
        assert_eq!(fault, Some(ServerFault::Data { sent: 11, asked: 10 }));
    }
    // One answer is all that a request gets.
    let replies = [&HELLO[..], &data(5), &data(5)].concat();
    let (got, fault) = passed(&read_request(10), &replies, 4096).await;
    assert_eq!(got.len(), HELLO.len() + data(5).len());
    assert_eq!(fault, Some(ServerFault::Unasked { id: 7 }));
}

#[tokio::test]
async fn no_bytes_whatever_do_more_than_end_the_session() {
    // Every packet type with every length up to where all of its fields have begun.
    for kind in [0, 2, 101, 102, 103, 104, 105, 201, 255] {
        for length in 0..40 {
            for fill in [0, 1, 0x7f, 0xff] {
                let reply = packet(kind, &vec![fill; length]);
                let requests = [5, 12, 3, 7, 200, 4].map(|kind| packet(kind, &[0; 16]));
                for request in requests {
                    passed(&request, &[&HELLO[..], &reply].concat(), 64).await;
                }
            }
        }
    }
}
