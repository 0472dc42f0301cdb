//! A test's output on its way from the guest to the harness.

use banger_protocol::reply::Stream;
use banger_protocol::verdict::Verdict;
use nanoserde::DeJson as _;

use crate::inside::{BEGIN, END};

/// Where a test's output goes, as text.
pub(crate) type Print<'a> = dyn FnMut(Stream, &str) + 'a;

/// Prints through the standard library, so that the default harness can capture it.
pub(crate) fn print(stream: Stream, text: &str) {
    match stream {
        Stream::Stdout => print!("{text}"),
        Stream::Stderr => eprint!("{text}"),
    }
}

/// Passes on what a test writes, and finds the verdict in it.
#[derive(Debug)]
pub(crate) struct Output {
    begin: Vec<u8>,
    end: Vec<u8>,
    state: State,
    /// What cannot be decided yet: it may be the start of a mark, or of a character.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// What the harness in the guest says first is dropped.
    Before,
    During,
    /// The mark was seen; the verdict's line may not be complete.
    After,
}

impl Output {
    pub(crate) fn new(token: &str) -> Self {
        let mark = |words: &str| format!("{token}{words}").into_bytes();
        let (stdout, stderr) = (Vec::new(), Vec::new());
        Self { begin: mark(BEGIN), end: mark(END), state: State::Before, stdout, stderr }
    }

    /// Takes in what came.
    pub(crate) fn take(&mut self, stream: Stream, bytes: &[u8], print: &mut Print<'_>) {
        let text = match stream {
            Stream::Stderr => {
                self.stderr.extend(bytes);
                text(&mut self.stderr, false)
            }
            Stream::Stdout => {
                self.stdout.extend(bytes);
                self.advance()
            }
        };
        if !text.is_empty() {
            print(stream, &text);
        }
    }

    /// Passes on the rest, and returns the verdict, if there was one.
    pub(crate) fn finish(mut self, print: &mut Print<'_>) -> Option<Verdict> {
        print(Stream::Stderr, &text(&mut self.stderr, true));
        if self.state != State::After {
            // A program that ended before the test began may have told why.
            print(Stream::Stdout, &text(&mut self.stdout, true));
            return None;
        }
        let line = self.stdout.split(|byte| *byte == b'\n').next()?;
        Verdict::deserialize_json(std::str::from_utf8(line).ok()?).ok()
    }

    /// Whether the test was begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.state != State::Before
    }

    /// Moves on as far as what came allows, and returns what is to be printed.
    fn advance(&mut self) -> String {
        if self.state == State::Before
            && let Some(at) = find(&self.stdout, &self.begin)
        {
            self.stdout.drain(..at + self.begin.len());
            self.state = State::During;
        }
        if self.state != State::During {
            return String::new();
        }
        if let Some(at) = find(&self.stdout, &self.end) {
            let mut out: Vec<u8> = self.stdout.drain(..at).collect();
            self.stdout.drain(..self.end.len());
            self.state = State::After;
            return text(&mut out, true);
        }
        let held = begins(&self.stdout, &self.end);
        let mark = self.stdout.split_off(self.stdout.len() - held);
        let out = text(&mut self.stdout, false);
        self.stdout.extend(mark);
        out
    }
}

/// Takes whole characters from the front, or all there is; what is not UTF-8 is replaced.
fn text(bytes: &mut Vec<u8>, all: bool) -> String {
    let cut = match std::str::from_utf8(bytes) {
        Err(error) if !all && error.error_len().is_none() => error.valid_up_to(),
        _ => bytes.len(),
    };
    let taken: Vec<u8> = bytes.drain(..cut).collect();
    String::from_utf8_lossy(&taken).into_owned()
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}

/// How many bytes at the end may be the start of the mark.
fn begins(bytes: &[u8], mark: &[u8]) -> usize {
    let longest = bytes.len().min(mark.len() - 1);
    (1..=longest).rev().find(|length| bytes.ends_with(&mark[..*length])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed of pieces, and the verdict.
    fn of(pieces: &[&[u8]]) -> (String, Option<Verdict>) {
        let mut output = Output::new("T0K");
        let mut printed = String::new();
        for piece in pieces {
            output.stdout.extend(*piece);
            printed.push_str(&output.advance());
        }
        (printed, output.finish(&mut |_, _| {}))
    }

    #[test]
    fn what_the_guests_harness_says_is_dropped() {
        let all = b"\nrunning 1 test\nT0K begin\nhello\nT0K end {\"Returned\":[0]}\n";
        let expected = ("hello\n".to_owned(), Some(Verdict::Returned(0)));
        assert_eq!(of(&[all]), expected);
        let bytes: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(of(&bytes), expected);
    }

    #[test]
    fn a_verdict_may_follow_an_unfinished_line() {
        let all = b"T0K begin\nno line endT0K end {\"Panicked\":[\"a\\nb\"]}\n";
        assert_eq!(of(&[all]), ("no line end".into(), Some(Verdict::Panicked("a\nb".into()))));
    }

    #[test]
    fn characters_are_not_torn() {
        let pieces: [&[u8]; 3] =
            [b"T0K begin\n\xc3", b"\xa4 \xff", b"T0K end {\"Skipped\":[\"x\"]}\n"];
        assert_eq!(of(&pieces), ("ä \u{fffd}".into(), Some(Verdict::Skipped("x".into()))));
    }

    #[test]
    fn a_test_that_never_ends_has_no_verdict() {
        assert_eq!(of(&[b"T0K begin\nx T0"]), ("x ".into(), None));
        assert_eq!(of(&[b"usage: ..."]), (String::new(), None));
    }
}
