//! A test executable's list, as text: every byte of it comes from a guest, and only what is well-formed
//! goes any further.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
const LONGEST_NAME: usize = 4096;

/// What the entry of a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Test,
    Benchmark,
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Test, Self::Benchmark];

    fn word(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Benchmark => "benchmark",
        }
    }
}

impl Entry {
    /// A test of that name.
    pub(crate) fn test(name: &str) -> Self {
        Self { name: name.to_owned(), kind: Kind::Test }
    }

    /// Reads `NAME: test` or `NAME: benchmark`.
    fn parse(line: &str) -> Option<Self> {
        let (name, word) = line.rsplit_once(": ")?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
        let entry = Self { name: name.to_owned(), kind };
        entry.is_sound().then_some(entry)
    }

    /// Whether the name is one that may be printed, and passed on to other programs.
    pub(crate) fn is_sound(&self) -> bool {
        !self.name.trim().is_empty()
            && self.name.len() <= LONGEST_NAME
            && !self.name.contains(char::is_control)
    }
}

/// Reads what an executable wrote for `--list --format terse`; `None` where that is no list. Nothing
/// at all is an empty one.
pub(crate) fn parse(text: &[u8]) -> Option<Vec<Entry>> {
    let lines = str::from_utf8(text).ok()?.lines().filter(|line| !line.is_empty());
    lines.map(Entry::parse).collect()
}

/// Whether an executable has said, for a plain `--list`, that it has no test, in libtest's words.
pub(crate) fn says_none(text: &[u8]) -> bool {
    let lines = str::from_utf8(text).unwrap_or_default();
    let mut lines = lines.lines().filter(|line| !line.trim().is_empty());
    let (first, second) = (lines.next().unwrap_or_default(), lines.next());
    let counts = first.strip_prefix("0 tests, ").and_then(|rest| rest.strip_suffix(" benchmarks"));
    counts == Some("0") && second.is_none()
}

/// As libtest prints a list: one line each, or for people with their number.
pub(crate) fn print(entries: &[Entry], terse: bool) -> String {
    let mut text = String::new();
    for Entry { name, kind } in entries {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {}", kind.word());
    }
    if !terse {
        let count = |kind: Kind| {
            let count = entries.iter().filter(|entry| entry.kind == kind).count();
            format!("{count} {}{}", kind.word(), if count == 1 { "" } else { "s" })
        };
        let blank = if entries.is_empty() { "" } else { "\n" };
        let _ = writeln!(text, "{blank}{}, {}", count(Kind::Test), count(Kind::Benchmark));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_printed_as_libtest_does() {
        let text = "a::b: test\nsrc/lib.rs - f (line 3): test\nfast: benchmark\n";
        let entries = parse(text.as_bytes()).unwrap();
        assert_eq!(entries[1], Entry::test("src/lib.rs - f (line 3)"));
        assert_eq!(entries[2].kind, Kind::Benchmark);
        assert_eq!(print(&entries, true), text);
        assert_eq!(print(&entries, false), format!("{text}\n2 tests, 1 benchmark\n"));
        assert_eq!(print(&[], true), "");
        assert_eq!(print(&[], false), "0 tests, 0 benchmarks\n");
        assert_eq!(parse(b""), Some(Vec::new()));
    }

    #[test]
    fn whatever_else_an_executable_prints_is_no_list() {
        let long = format!("{}: test\n", "n".repeat(LONGEST_NAME + 1));
        let others: [&[u8]; 12] = [
            b"hello\n",
            b"a: test\nhello\n",
            b"a: test \n",
            b"a:test\n",
            b": test\n",
            b"  : test\n",
            b"a: tests\n",
            b"a\x1b[2J: test\n",
            b"a\rb: test\n",
            b"a\0: test\n",
            b"\xff: test\n",
            long.as_bytes(),
        ];
        for text in others {
            assert_eq!(parse(text), None, "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn no_test_is_what_libtest_says_and_no_other_text() {
        assert!(says_none(b"0 tests, 0 benchmarks\n"));
        assert!(says_none(b"\n0 tests, 0 benchmarks\n"));
        let others: [&[u8]; 5] =
            [b"", b"1 test, 0 benchmarks\n", b"0 tests, 0 benchmarks\nok\n", b"0 tests", b"\xff"];
        assert!(others.into_iter().all(|text| !says_none(text)));
    }
}
