//! The console as a stream of lines, without echo.

use crate::system;

/// Longest line; a longer one is cut into several, which then fail as unknown steps.
const LIMIT: usize = 16 << 10;

/// Standard input and output, which the boot script points at the console.
pub struct Console {
    buffer: [u8; LIMIT],
    start: usize,
    end: usize,
}

impl Console {
    pub fn open() -> Self {
        Self::make_raw();
        Self { buffer: [0; LIMIT], start: 0, end: 0 }
    }

    /// The next line, without its end; `None` when the console is gone.
    pub fn line(&mut self) -> Option<&[u8]> {
        let mut seen = self.start;
        loop {
            let unseen = &self.buffer[seen..self.end];
            if let Some(at) = unseen.iter().position(|byte| *byte == b'\n') {
                let line = self.start..seen + at;
                self.start = seen + at + 1;
                return Some(&self.buffer[line]);
            }
            if self.end - self.start == LIMIT {
                let line = self.start..self.end;
                (self.start, self.end) = (0, 0);
                return Some(&self.buffer[line]);
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            seen = self.end;
            match system::read(0, &mut self.buffer[self.end..]) {
                Ok(read) if read > 0 => self.end += read,
                _ => return None,
            }
        }
    }

    /// Says one line, in one write so that nobody's words come between.
    pub fn tell(parts: &[&[u8]]) {
        const NAME: &[u8] = b"banger: ";
        const END: &[u8] = b"\n";
        let mut line = [0; 512];
        let mut length = 0;
        for byte in [NAME].iter().chain(parts).chain(&[END]).flat_map(|part| part.iter()) {
            if length < line.len() {
                line[length] = *byte;
                length += 1;
            }
        }
        system::write_all(1, &line[..length]);
    }

    /// No echo, no editing, no signals from keys; a read waits for one byte.
    pub fn make_raw() {
        system::change_terminal(0, |termios| {
            termios[0..8].fill(0);
            termios[12..16].fill(0);
            // Of the control characters, VTIME is the sixth and VMIN the seventh.
            (termios[17 + 5], termios[17 + 6]) = (0, 1);
        });
    }
}
