//! A test's output on its way from the guest to the harness.

use banger_protocol::reply::Stream;

use crate::inside::BEGIN;

/// Where a test's output goes, as text.
pub(crate) type Print<'a> = dyn FnMut(Stream, &str) + 'a;

/// How much is kept of what comes before the test begins, in bytes: its end.
const PRELUDE: usize = 64 << 10;

/// Prints through the standard library, so that the default harness can capture it.
pub(crate) fn print(stream: Stream, text: &str) {
    match stream {
        Stream::Stdout => print!("{text}"),
        Stream::Stderr => eprint!("{text}"),
    }
}

/// Passes on what a test writes, and drops what the harness in the guest says before.
#[derive(Debug)]
pub(crate) struct Output {
    begin: Vec<u8>,
    begun: bool,
    /// What cannot be passed on yet: the test may not have begun, or it may be the start of a character.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    pub(crate) fn new(token: &str) -> Self {
        let begin = format!("{token}{BEGIN}").into_bytes();
        Self { begin, begun: false, stdout: Vec::new(), stderr: Vec::new() }
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

    /// Passes on the rest, and returns whether the test has begun. A program that ended before that may have
    /// told why.
    pub(crate) fn finish(mut self, print: &mut Print<'_>) -> bool {
        print(Stream::Stderr, &text(&mut self.stderr, true));
        print(Stream::Stdout, &text(&mut self.stdout, true));
        self.begun
    }

    /// Moves on as far as what came allows, and returns what is to be printed.
    fn advance(&mut self) -> String {
        if self.begun {
            return text(&mut self.stdout, false);
        }
        if let Some(at) = find(&self.stdout, &self.begin) {
            self.stdout.drain(..at + self.begin.len());
            self.begun = true;
            return text(&mut self.stdout, false);
        }
        self.stdout.drain(..self.stdout.len().saturating_sub(PRELUDE));
        String::new()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is printed of pieces as they come, what at the end, and whether the test has begun.
    fn of(pieces: &[&[u8]]) -> (String, String, bool) {
        let mut output = Output::new("T0K");
        let (mut during, mut after) = (String::new(), String::new());
        for piece in pieces {
            output.take(Stream::Stdout, piece, &mut |_, text| during.push_str(text));
        }
        let begun = output.finish(&mut |_, text| after.push_str(text));
        (during, after, begun)
    }

    #[test]
    fn what_the_guests_harness_says_is_dropped() {
        let all = b"\nrunning 1 test\nT0K begin\nhello\n";
        let expected = ("hello\n".to_owned(), String::new(), true);
        assert_eq!(of(&[all]), expected);
        let bytes: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(of(&bytes), expected);
    }

    #[test]
    fn what_looks_like_a_word_of_ours_later_is_the_tests() {
        let all = b"T0K begin\na\nT0K begin\nT0K end {\"Returned\":[0]}\nb";
        let text = "a\nT0K begin\nT0K end {\"Returned\":[0]}\nb".to_owned();
        assert_eq!(of(&[all]), (text, String::new(), true));
    }

    #[test]
    fn characters_are_not_torn() {
        let pieces: [&[u8]; 3] = [b"T0K begin\n\xc3", b"\xa4 \xff", b"\xc3"];
        assert_eq!(of(&pieces), ("ä \u{fffd}".to_owned(), "\u{fffd}".to_owned(), true));
    }

    #[test]
    fn of_a_test_that_never_begins_the_end_of_what_it_said_is_printed() {
        assert_eq!(of(&[b"usage: ..."]), (String::new(), "usage: ...".to_owned(), false));
        let flood = vec![b'x'; PRELUDE];
        let (during, after, begun) = of(&[b"first", &flood, &flood, b"last"]);
        assert_eq!((during.len(), after.len(), begun), (0, PRELUDE, false));
        assert!(after.ends_with("last"));
        assert!(of(&[&flood, &flood, b"T0K be", b"gin\n"]).2);
    }
}
