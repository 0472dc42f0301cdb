//! Where a command that is asked for one leaves its verdict: in a file in memory, which it finds open as
//! its descriptor [`DESCRIPTOR`], and which is read once it has ended.
//!
//! ```text
//! length: 4 bytes, little-endian · that many bytes of text · the rest of 64 KiB
//! ```
//!
//! A command that maps the file and closes the descriptor has a way to tell that none of its children
//! inherits and that is not lost with its descriptors; `banger-test` does. Both numbers are those of
//! `banger_protocol::verdict`.

use crate::system::{Errno, File};

/// What a command finds the file open as.
const DESCRIPTOR: usize = 3;

/// How long the file is, in bytes.
const LENGTH: usize = 64 << 10;

/// How many of them say how long the verdict is.
const HEAD: usize = size_of::<u32>();

/// A verdict on its way.
pub struct Verdict {
    file: File,
    /// The next byte to tell, and the one after the last; not known before the command's end.
    from: usize,
    to: usize,
}

impl Verdict {
    pub fn new() -> Result<Self, Errno> {
        let file = File::memory(c"banger-verdict", LENGTH)?;
        Ok(Self { file, from: 0, to: 0 })
    }

    /// Has this process, which is about to become the command, find the file. What was there is closed; the
    /// file itself is not, having been opened after the command's streams.
    pub fn hand_over(&self) -> Result<(), Errno> {
        self.file.become_stream(DESCRIPTOR)
    }

    /// The next piece of what the command has left, which has ended; its length is 0 where there is none.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        if self.from == 0 {
            let mut head = [0; HEAD];
            let read = self.file.read_at(&mut head, 0);
            let length = u32::from_le_bytes(head) as usize;
            // What is no length is no verdict.
            let told = read == Ok(HEAD) && length <= LENGTH - HEAD;
            (self.from, self.to) = (HEAD, if told { HEAD + length } else { HEAD });
        }
        let length = buffer.len().min(self.to - self.from);
        match self.file.read_at(&mut buffer[..length], self.from) {
            Ok(read @ 1..) => {
                self.from += read;
                read
            }
            _ => {
                self.to = self.from;
                0
            }
        }
    }

    /// Whether another piece follows one that was read.
    pub fn goes_on(&self) -> bool {
        self.from < self.to
    }
}
