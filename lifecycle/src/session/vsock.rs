//! Connections to ports of a guest's vsock, through the Unix socket that Firecracker gives it.
//!
//! The host says `CONNECT <port>`, Firecracker answers `OK <its own port>`, and from then on the
//! stream is the guest's (Firecracker's docs/vsock.md).

use std::io;

use camino::Utf8Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::socket::ShortPath;

/// How long a line of the greeting may be.
const LONGEST: usize = 64;

/// Connects to a port of the guest.
///
/// # Errors
/// Where nobody listens there; the guest may not be up.
pub async fn connect(socket: &Utf8Path, port: u32) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(ShortPath::to(socket)?.as_path()).await?;
    stream.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
    // No byte more than the line: what follows is the guest's.
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') && line.len() < LONGEST {
        match stream.read_u8().await {
            Ok(byte) => line.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
    }
    if line.starts_with(b"OK ") {
        return Ok(stream);
    }
    let reason = format!("the guest has nobody on vsock port {port}");
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, reason))
}

#[cfg(test)]
mod tests {
    use camino::Utf8PathBuf;
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    use tokio::net::UnixListener;

    use super::*;

    /// A Firecracker that answers one connection so.
    fn answering(answer: &'static [u8]) -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let socket = Utf8Path::from_path(dir.path()).unwrap().join("vsock.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            assert_eq!(line, "CONNECT 22\n");
            stream.write_all(answer).await.unwrap();
        });
        (dir, socket)
    }

    #[tokio::test]
    async fn what_follows_the_greeting_is_the_guests() {
        let (_dir, socket) = answering(b"OK 1073741824\nSSH-2.0-");
        let mut stream = connect(&socket, 22).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "SSH-2.0-");
    }

    #[tokio::test]
    async fn a_port_without_a_listener_is_told() {
        let (_dir, socket) = answering(b"");
        let error = connect(&socket, 22).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
