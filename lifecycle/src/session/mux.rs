//! One session over the master's control socket, in OpenSSH's own protocol (its `PROTOCOL.mux`,
//! version 4).
//!
//! Written here because the exit status may overtake the output: the master throws away what it
//! has not passed on yet when its client leaves, and the libraries there are leave with the
//! status. A [`MuxSession`] stays until it is dropped.

use std::io;
use std::os::fd::BorrowedFd;

use camino::Utf8Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::SessionError;
use crate::process::hand_over;

const VERSION: u32 = 4;
const HELLO: u32 = 0x0000_0001;
const NEW_SESSION: u32 = 0x1000_0002;
const PERMISSION_DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const EXIT_MESSAGE: u32 = 0x8000_0004;
const SESSION_OPENED: u32 = 0x8000_0006;

/// What the protocol calls no escape character.
const NO_ESCAPE: u32 = 0xffff_ffff;

/// Longest message that makes sense: answers are numbers, and reasons of a line.
const LONGEST: u32 = 64 << 10;

/// A command under way. Dropping it has the master forget what it has not written out yet.
#[must_use = "the output ends when this is dropped"]
#[derive(Debug)]
pub(crate) struct MuxSession {
    stream: UnixStream,
}

impl MuxSession {
    /// Runs a command with the given standard streams, of which the master gets copies.
    pub(crate) async fn open(
        control: &Utf8Path,
        command: &[u8],
        streams: [BorrowedFd<'_>; 3],
    ) -> Result<Self, SessionError> {
        let mut stream = UnixStream::connect(control).await.map_err(lost)?;
        let mut hello = Message::new(HELLO);
        hello.number(VERSION);
        hello.send(&mut stream).await?;
        expect(&mut stream, HELLO).await?;
        new_session(command).send(&mut stream).await?;
        for descriptor in streams {
            hand_over(&stream, b"\0", descriptor).await.map_err(lost)?;
        }
        expect(&mut stream, SESSION_OPENED).await?;
        Ok(Self { stream })
    }

    /// Waits for the exit status; `None` where the session ended without one.
    pub(crate) async fn exit_status(&mut self) -> Result<Option<u32>, SessionError> {
        match receive(&mut self.stream).await {
            Ok((EXIT_MESSAGE, body)) => Ok(number_at(&body, 4)),
            Ok((kind, _)) => Err(unexpected(kind)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(lost(error)),
        }
    }
}

/// The request: no terminal, no forwarding, no variables.
fn new_session(command: &[u8]) -> Message {
    let mut request = Message::new(NEW_SESSION);
    request.number(0);
    request.text(b"");
    let [terminal, x11, agent, subsystem] = [0; 4];
    for number in [terminal, x11, agent, subsystem, NO_ESCAPE] {
        request.number(number);
    }
    request.text(b"");
    request.text(command);
    request
}

/// A message being put together.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u32) -> Self {
        Self(kind.to_be_bytes().to_vec())
    }

    fn number(&mut self, number: u32) {
        self.0.extend(number.to_be_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(u32::try_from(text.len()).expect("a command is shorter than 4 GiB"));
        self.0.extend(text);
    }

    async fn send(self, stream: &mut UnixStream) -> Result<(), SessionError> {
        let length = u32::try_from(self.0.len()).expect("a message is shorter than 4 GiB");
        let bytes = [&length.to_be_bytes()[..], &self.0].concat();
        stream.write_all(&bytes).await.map_err(lost)
    }
}

/// Receives a message that must be of one kind.
async fn expect(stream: &mut UnixStream, wanted: u32) -> Result<(), SessionError> {
    match receive(stream).await.map_err(lost)? {
        (kind, _) if kind == wanted => Ok(()),
        (PERMISSION_DENIED | FAILURE, body) => {
            // The request's number, then the reason with its length.
            let reason = String::from_utf8_lossy(body.get(8..).unwrap_or_default()).into_owned();
            Err(SessionError::Lost(format!("the SSH master refused a session: {reason}")))
        }
        (kind, _) => Err(unexpected(kind)),
    }
}

/// Receives one message: its kind and what follows it.
async fn receive(stream: &mut UnixStream) -> io::Result<(u32, Vec<u8>)> {
    let length = stream.read_u32().await?;
    if !(4..=LONGEST).contains(&length) {
        return Err(io::Error::other(format!("a message of {length} bytes")));
    }
    let kind = stream.read_u32().await?;
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await?;
    Ok((kind, body))
}

fn number_at(body: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*body.get(at..)?.first_chunk()?))
}

fn lost(error: io::Error) -> SessionError {
    SessionError::Lost(error.to_string())
}

fn unexpected(kind: u32) -> SessionError {
    SessionError::Lost(format!("the SSH master sent an unexpected message {kind:#x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A master that answers with the given messages, each a kind and numbers.
    async fn answering(answers: Vec<(u32, Vec<u32>)>) -> (tempfile::TempDir, camino::Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().join("ctl")).unwrap();
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for (kind, numbers) in answers {
                let mut message = Message::new(kind);
                numbers.into_iter().for_each(|number| message.number(number));
                message.send(&mut stream).await.unwrap();
            }
            // The requests, and at last the client's leaving.
            let mut requests = Vec::new();
            drop(stream.read_to_end(&mut requests).await);
        });
        (dir, path)
    }

    async fn open(path: &Utf8Path) -> Result<MuxSession, SessionError> {
        let null = fs_err::File::open("/dev/null").unwrap();
        let null = std::os::fd::AsFd::as_fd(&null);
        MuxSession::open(path, b"true", [null; 3]).await
    }

    #[tokio::test]
    async fn the_exit_status_is_the_masters_word() {
        let answers =
            vec![(HELLO, vec![4]), (SESSION_OPENED, vec![0, 7]), (EXIT_MESSAGE, vec![7, 127])];
        let (_dir, path) = answering(answers).await;
        let mut session = open(&path).await.unwrap();
        assert_eq!(session.exit_status().await.unwrap(), Some(127));
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_its_reason() {
        let reason = u32::from_be_bytes(*b"full");
        let (_dir, path) = answering(vec![(HELLO, vec![4]), (FAILURE, vec![0, 4, reason])]).await;
        let error = open(&path).await.unwrap_err().to_string();
        assert!(error.contains("refused a session: full"), "{error}");
    }

    #[tokio::test]
    async fn a_master_that_is_not_there_is_a_lost_connection() {
        let error = open(Utf8Path::new("/no/such/socket")).await.unwrap_err();
        assert!(matches!(error, SessionError::Lost(_)), "{error:?}");
    }
}
