//! A log file that somebody else may flood: the beginning and the end of what comes are kept, and a line
//! between them says how much is gone.
//!
//! ```text
//! head (1 MiB) │ [... N bytes left out ...] │ tail (1 to 2 MiB)
//! ```
//!
//! It is whole at any time, so that whoever writes it may be killed. Once the tail has grown to twice its
//! size its older half goes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use banger_protocol::text::left_out;
use camino::Utf8Path;

/// How much of the beginning is kept, and at least of the end, in bytes.
const HEAD: u64 = 1 << 20;
const TAIL: u64 = 1 << 20;

/// A log being written by one process.
#[derive(Debug)]
pub(crate) struct Log {
    file: File,
    /// Where the next byte goes.
    end: u64,
    gone: u64,
    /// Whether it could not be written to.
    broken: bool,
}

impl Log {
    /// Makes an empty one, or empties the one that is there.
    pub(crate) fn create(path: &Utf8Path) -> io::Result<Self> {
        let mut options = fs_err::OpenOptions::new();
        let file = options.create(true).truncate(true).read(true).write(true).open(path)?;
        Self::resume(file.into_parts().0, 0)
    }

    /// Goes on with one of which so much [is gone](Log::gone).
    pub(crate) fn resume(file: File, gone: u64) -> io::Result<Self> {
        let end = file.metadata()?.len();
        Ok(Self { file, end, gone, broken: false })
    }

    /// The file, for whoever is to go on with it.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// How much is left out, in bytes.
    pub(crate) fn gone(&self) -> u64 {
        self.gone
    }

    /// Adds to the end. What cannot be written is lost, and so is all that follows.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(TAIL as usize) {
            if self.broken {
                return;
            }
            if let Err(error) = self.append(piece) {
                tracing::debug!(%error, "a log is not whole");
                self.broken = true;
            }
        }
    }

    /// Its last bytes, as text.
    pub(crate) fn last(&self, most: u64) -> String {
        let mut bytes = vec![0; most.min(self.end) as usize];
        let from = self.end - bytes.len() as u64;
        let read = self.file.read_exact_at(&mut bytes, from);
        read.map(|()| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all_at(piece, self.end)?;
        self.end += piece.len() as u64;
        if self.end - self.tail() > 2 * TAIL {
            self.shorten()?;
        }
        Ok(())
    }

    /// Where the tail begins.
    fn tail(&self) -> u64 {
        if self.gone == 0 { HEAD.min(self.end) } else { HEAD + mark(self.gone).len() as u64 }
    }

    fn shorten(&mut self) -> io::Result<()> {
        let mut kept = vec![0; TAIL as usize];
        let from = self.end - TAIL;
        self.file.read_exact_at(&mut kept, from)?;
        self.gone += from - self.tail();
        let mark = mark(self.gone);
        self.file.write_all_at(mark.as_bytes(), HEAD)?;
        self.file.write_all_at(&kept, HEAD + mark.len() as u64)?;
        self.end = HEAD + mark.len() as u64 + TAIL;
        self.file.set_len(self.end)
    }
}

fn mark(gone: u64) -> String {
    format!("\n{}\n", left_out(gone))
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;

    /// What stands in a log after so many lines, each with its number, and how much was written.
    fn after(lines: u64, path: &Utf8Path) -> (String, u64) {
        let mut log = Log::create(path).unwrap();
        let mut written = 0;
        for number in 0..lines {
            let line = format!("line {number} {}\n", "x".repeat(1000));
            written += line.len() as u64;
            log.write(line.as_bytes());
            if number == lines / 2 {
                // Somebody else goes on.
                let gone = log.gone();
                log = Log::resume(log.file().try_clone().unwrap(), gone).unwrap();
            }
        }
        (fs::read_to_string(path).unwrap(), written)
    }

    #[test]
    fn a_short_log_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("log");
        let (text, written) = after(2900, &path);
        assert_eq!(text.len() as u64, written);
        assert!(text.lines().enumerate().all(|(at, l)| l.starts_with(&format!("line {at} "))));
        assert_eq!(Log::create(&path).unwrap().last(10), "");
    }

    #[test]
    fn of_a_long_log_both_ends_are_there_and_what_is_gone_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("log");
        for lines in [4000, 20_000, 20_700] {
            let (text, written) = after(lines, &path);
            assert!(text.len() as u64 <= HEAD + 2 * TAIL + 100, "{}", text.len());
            assert!(text.starts_with("line 0 x"));
            let last = format!("line {} {}\n", lines - 1, "x".repeat(1000));
            assert!(text.ends_with(&last), "{}", &text[text.len() - 2000..]);
            let (_, after) = text.split_once("\n[... ").unwrap();
            let (gone, tail) = after.split_once(" bytes left out ...]\n").unwrap();
            assert!(tail.len() as u64 >= TAIL);
            let gone: u64 = gone.parse().unwrap();
            assert_eq!(HEAD + gone + tail.len() as u64, written);
            assert_eq!(text.matches("bytes left out").count(), 1);
        }
    }

    #[test]
    fn more_at_once_than_there_is_room_for_is_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("log");
        let mut log = Log::create(&path).unwrap();
        log.write(&vec![b'x'; 10 << 20]);
        log.write(b"end");
        assert!(fs::metadata(&path).unwrap().len() <= HEAD + 2 * TAIL + 100);
        assert_eq!(log.last(4), "xend");
    }
}
