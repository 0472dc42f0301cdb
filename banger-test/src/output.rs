//! A test's output on its way from the guest to the harness.

use banger_protocol::excerpt::Excerpt;
use banger_protocol::reply::Stream;

use crate::inside::BEGIN;

/// Where a test's output goes, as text.
pub(crate) type Print<'a> = dyn FnMut(Stream, &str) + 'a;

/// How much is kept of what comes before the test begins, in bytes: its end.
const PRELUDE: usize = 64 << 10;

/// How much of a test's output a harness is given to hold, in bytes.
const HELD: usize = 16 << 20;

/// Has output printed through the standard library, so that the default harness can capture it. Where it
/// may do so, it gets no more than both ends of much output.
pub(crate) fn printing<T>(test: impl FnOnce(&mut Print<'_>) -> T) -> T {
    let mut held = (!is_shown()).then(Held::default);
    let mut print = |stream, text: &str| match &mut held {
        None => print_all(stream, text),
        Some(held) => print_all(stream, held.admit(text)),
    };
    let ended = test(&mut print);
    let end = held.map(Held::end).unwrap_or_default();
    print_all(Stream::Stdout, &end);
    ended
}

fn print_all(stream: Stream, text: &str) {
    match stream {
        Stream::Stdout => print!("{text}"),
        Stream::Stderr => eprint!("{text}"),
    }
}

/// Whether the default harness passes output on as it comes.
fn is_shown() -> bool {
    let flag = |argument: String| argument == "--nocapture" || argument == "--no-capture";
    std::env::args_os().filter_map(|argument| argument.into_string().ok()).any(flag)
        || std::env::var_os("RUST_TEST_NOCAPTURE").is_some_and(|value| value != "0")
}

/// Output that somebody holds until its test has ended: the beginning is let through, the end is kept here.
#[derive(Debug)]
pub(crate) struct Held {
    room: usize,
    end: Excerpt,
}

impl Default for Held {
    fn default() -> Self {
        Self { room: HELD / 2, end: Excerpt::new(HELD / 4) }
    }
}

impl Held {
    /// What of a text belongs to the beginning.
    pub(crate) fn admit<'a>(&mut self, text: &'a str) -> &'a str {
        let cut = (0..=text.len().min(self.room)).rev().find(|at| text.is_char_boundary(*at));
        let (admitted, rest) = text.split_at(cut.unwrap_or(0));
        self.room = if rest.is_empty() { self.room - admitted.len() } else { 0 };
        self.end.push(rest.as_bytes());
        admitted
    }

    /// The end, and what is said of what is left out before it.
    pub(crate) fn end(self) -> String {
        String::from_utf8_lossy(&self.end.into_bytes()).into_owned()
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
    fn of_much_output_both_ends_are_passed_on() {
        let mut held = Held::default();
        let piece = "ä".repeat(1000);
        let mut passed = String::new();
        for _ in 0..20_000 {
            passed.push_str(held.admit(&piece));
        }
        assert_eq!(passed.len(), HELD / 2);
        assert_eq!(held.admit("last"), "");
        let end = held.end();
        assert!(end.len() < HELD / 2 + 100 && end.ends_with("älast"), "{}", end.len());
        assert!(end.contains(" bytes left out "));
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
