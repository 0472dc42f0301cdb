//! What the guest's agent and we say of commands, as frames. The agent's side is in its
//! `commands.rs`, which says what they mean.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::terminal::Size;

/// How many bytes of input are in a frame at most, and of output.
pub(super) const PIECE: usize = (16 << 10) - 12;

/// How long a program with its variables and arguments may be. A frame has room for a terminal too.
pub(super) const LONGEST: usize = (256 << 10) - 5;

/// What we say.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said<'a> {
    /// A program, as [`GuestCommand::for_agent`](super::GuestCommand) has it.
    Run(&'a [u8]),
    /// What the command reads; nothing is the end of it.
    Input(&'a [u8]),
    /// A signal for its process group.
    Signal(Signal),
    /// Nobody reads this stream of it any more.
    Close(Output),
    /// The same as `Run`, for one on a terminal.
    RunOnTerminal { program: &'a [u8], size: Size, errors_apart: bool },
    /// Its terminal has another size.
    Size(Size),
    /// The same as `Run`, for one that tells a verdict.
    RunForVerdict(&'a [u8]),
}

/// A command's output streams, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Stdout = 1,
    Stderr = 2,
}

/// What the agent says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// What the command wrote; nothing is the end of it.
    Output(Output, Vec<u8>),
    /// That the last input was passed on, and whether more may follow.
    Taken { open: bool },
    /// How it ended, and the rest of its verdict.
    Status(ExitStatus, Vec<u8>),
    /// A piece of its verdict.
    Verdict(Vec<u8>),
}

impl Said<'_> {
    /// As it is sent, of a command.
    pub(super) fn frame(self, command: u32) -> Vec<u8> {
        let (kind, body) = self.parts();
        let length = u32::try_from(body.len()).expect("a frame is short");
        [&[kind, command, length].map(u32::to_le_bytes).concat(), &body[..]].concat()
    }

    fn parts(self) -> (u32, Vec<u8>) {
        match self {
            Self::Run(program) => (1, program.to_vec()),
            Self::Input(bytes) => (2, bytes.to_vec()),
            Self::Signal(signal) => (3, vec![signal.as_raw().to_le_bytes()[0]]),
            Self::Close(output) => (4, vec![output as u8]),
            Self::RunOnTerminal { program, size, errors_apart } => {
                (5, [&size.bytes()[..], &[errors_apart.into()], program].concat())
            }
            Self::Size(size) => (6, size.bytes().to_vec()),
            Self::RunForVerdict(program) => (7, program.to_vec()),
        }
    }
}

impl Size {
    fn bytes(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.rows.to_le_bytes(), self.columns.to_le_bytes());
        [a, b, c, d]
    }
}

/// Receives what is said of a command; `None` at the connection's end.
pub(super) async fn receive(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<(u32, Told)>> {
    let kind = match from.read_u32_le().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        kind => kind?,
    };
    let command = from.read_u32_le().await?;
    let length = from.read_u32_le().await? as usize;
    if length > PIECE {
        return Err(io::Error::other(format!("the agent sends {length} bytes at once")));
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes).await?;
    let told = match (kind, bytes.first_chunk()) {
        (1, _) => Told::Output(Output::Stdout, bytes),
        (2, _) => Told::Output(Output::Stderr, bytes),
        (3, _) => Told::Taken { open: bytes.is_empty() },
        (4, Some(status)) => {
            let status = ExitStatus::from_raw(i32::from_le_bytes(*status));
            Told::Status(status, bytes.split_off(4))
        }
        (5, _) => Told::Verdict(bytes),
        _ => return Err(io::Error::other(format!("the agent says something unknown: {kind}"))),
    };
    Ok(Some((command, told)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_three_numbers_and_bytes() {
        assert_eq!(Said::Run(b"true\0").frame(7), b"\x01\0\0\0\x07\0\0\0\x05\0\0\0true\0");
        let size = Size { rows: 31, columns: 258 };
        let on_terminal = Said::RunOnTerminal { program: b"a\0", size, errors_apart: true };
        assert_eq!(on_terminal.frame(1), b"\x05\0\0\0\x01\0\0\0\x07\0\0\0\x1f\0\x02\x01\x01a\0");
        assert_eq!(Said::Signal(Signal::TERM).frame(1), b"\x03\0\0\0\x01\0\0\0\x01\0\0\0\x0f");
    }

    #[tokio::test]
    async fn the_end_is_no_error_but_the_middle_is() {
        let mut whole = &b"\x04\0\0\0\x02\0\0\0\x04\0\0\0\0\x03\0\0"[..];
        let told = Told::Status(ExitStatus::from_raw(0x300), Vec::new());
        assert_eq!(receive(&mut whole).await.unwrap(), Some((2, told)));
        assert_eq!(receive(&mut whole).await.unwrap(), None);
        assert!(receive(&mut &b"\x01\0\0\0\x02\0"[..]).await.is_err());
        assert!(receive(&mut &b"\x01\0\0\0\x02\0\0\0\0\0\0\x01"[..]).await.is_err());
    }
}
