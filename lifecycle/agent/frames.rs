//! What host and agent say of commands. A frame is three numbers of four bytes, little-endian: its kind,
//! the command's number, and how many bytes follow. The host's end is `exec::frame` in the lifecycle
//! crate.

use crate::system::{AGAIN, Errno, File, GONE, INVALID};

/// What the host says.
pub mod said {
    /// To start a [program](crate::program).
    pub const RUN: u32 = 1;
    /// What it reads.
    pub const INPUT: u32 = 2;
    /// To signal its process group; the number in one byte.
    pub const SIGNAL: u32 = 3;
    /// Nobody reads one of its streams any more: 1 or 2, in one byte.
    pub const CLOSE: u32 = 4;
    /// To start a program on a [terminal](crate::streams::Terminal), which is described before it.
    pub const RUN_ON_TERMINAL: u32 = 5;
    /// That the terminal has another [size](crate::streams::Size).
    pub const SIZE: u32 = 6;
    /// To start a [program](crate::program) that has a [verdict](crate::verdict) to tell.
    pub const RUN_FOR_VERDICT: u32 = 7;
}

/// What we say.
pub mod told {
    pub const OUTPUT: u32 = 1;
    pub const ERROR: u32 = 2;
    /// That input was passed on; a byte follows where nobody reads more.
    pub const TAKEN: u32 = 3;
    /// How the command ended: its wait status in four bytes; what follows is the end of its verdict.
    pub const STATUS: u32 = 4;
    /// A piece of the verdict of a command that has ended, where it does not fit beside the status.
    pub const VERDICT: u32 = 5;
}

/// Bytes before those that follow.
const HEAD: usize = 12;

/// How long a program with its variables and arguments may be.
const LONGEST: usize = 256 << 10;

/// How many bytes of a stream are in a frame at most: a whole frame is a piece of memory that the
/// kernel always has.
pub const PIECE: usize = (16 << 10) - HEAD;

/// A frame's numbers.
pub struct Frame {
    pub kind: u32,
    pub command: u32,
    pub length: usize,
}

/// What has come from the host.
pub struct Inbox {
    bytes: [u8; HEAD + LONGEST],
    length: usize,
}

impl Inbox {
    pub const fn new() -> Self {
        Self { bytes: [0; HEAD + LONGEST], length: 0 }
    }

    pub fn receive(&mut self, connection: &File) -> Result<(), Errno> {
        match connection.read(&mut self.bytes[self.length..]) {
            Ok(0) => Err(GONE),
            Ok(read) => {
                self.length += read;
                Ok(())
            }
            Err(AGAIN) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The first frame, once all of it is there.
    pub fn frame(&self) -> Result<Option<Frame>, Errno> {
        if self.length < HEAD {
            return Ok(None);
        }
        let (numbers, _) = self.bytes[..HEAD].as_chunks::<4>();
        let [kind, command, length] = [0, 1, 2].map(|at| u32::from_le_bytes(numbers[at]));
        let length = length as usize;
        if length > LONGEST {
            return Err(INVALID);
        }
        let whole = self.length >= HEAD + length;
        Ok(whole.then_some(Frame { kind, command, length }))
    }

    pub fn bytes_of(&self, frame: &Frame) -> &[u8] {
        &self.bytes[HEAD..HEAD + frame.length]
    }

    pub fn forget(&mut self, frame: &Frame) {
        let end = HEAD + frame.length;
        self.bytes.copy_within(end..self.length, 0);
        self.length -= end;
    }
}

/// A frame on its way to the host.
pub struct Outbox {
    bytes: [u8; HEAD + PIECE],
    sent: usize,
    length: usize,
}

impl Outbox {
    pub const fn new() -> Self {
        Self { bytes: [0; HEAD + PIECE], sent: 0, length: 0 }
    }

    pub fn is_empty(&self) -> bool {
        self.sent == self.length
    }

    /// Where a frame's bytes go before it is [put](Self::put).
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[HEAD..]
    }

    pub fn put(&mut self, kind: u32, command: u32, length: usize) {
        let numbers = [kind, command, length as u32];
        let (head, _) = self.bytes[..HEAD].as_chunks_mut::<4>();
        for (bytes, number) in head.iter_mut().zip(numbers) {
            *bytes = number.to_le_bytes();
        }
        (self.sent, self.length) = (0, HEAD + length);
    }

    pub fn send(&mut self, connection: &File) -> Result<(), Errno> {
        if self.is_empty() {
            return Ok(());
        }
        match connection.write(&self.bytes[self.sent..self.length]) {
            Ok(written) => self.sent += written,
            Err(AGAIN) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
