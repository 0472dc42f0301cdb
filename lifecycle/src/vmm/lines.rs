//! Lines of a stream that somebody else writes: none is longer than it may be.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How much is read at once, in bytes.
const PIECE: usize = 16 << 10;

/// A stream's bytes cut into lines. One that is too long is cut into several.
#[derive(Debug)]
pub(crate) struct Lines {
    most: usize,
    line: Vec<u8>,
}

impl Lines {
    /// For lines of at most so many bytes, their end included.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, line: Vec::new() }
    }

    /// Takes in what came next, and passes on each line that is complete, its end included.
    pub(crate) fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = &bytes[..bytes.len().min(self.most - self.line.len())];
            let end = room.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let (piece, rest) = bytes.split_at(end.unwrap_or(room.len()));
            self.line.extend(piece);
            bytes = rest;
            if end.is_some() || self.line.len() == self.most {
                each(&self.line);
                self.line.clear();
            }
        }
    }

    /// Passes on a last line that has no end.
    pub(crate) fn finish(self, mut each: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            each(&self.line);
        }
    }
}

/// Reads a stream to its end, piece by piece. Others have their turn between, however fast it comes.
pub(crate) async fn read_pieces(mut stream: impl AsyncRead + Unpin, mut each: impl FnMut(&[u8])) {
    let mut buffer = vec![0; PIECE];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        each(&buffer[..read]);
        tokio::task::coop::consume_budget().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut seen) = (Lines::new(4), Vec::new());
        for piece in pieces {
            lines.take(piece, |line| seen.push(line.to_vec()));
        }
        lines.finish(|line| seen.push(line.to_vec()));
        seen
    }

    #[test]
    fn lines_are_found_however_they_come() {
        assert_eq!(of(&[b"a\n\nbc\nd"]), [&b"a\n"[..], b"\n", b"bc\n", b"d"]);
        assert_eq!(of(&[b"a", b"\n\nb", b"", b"c\nd"]), [&b"a\n"[..], b"\n", b"bc\n", b"d"]);
    }

    #[test]
    fn one_that_is_too_long_is_several() {
        assert_eq!(of(&[b"abcdefghi\nj"]), [&b"abcd"[..], b"efgh", b"i\n", b"j"]);
        assert_eq!(of(&[b"abc\nd"]), [&b"abc\n"[..], b"d"]);
    }
}
