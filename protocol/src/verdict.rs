//! How a test ended, as the process in the guest tells the one outside: not by what it prints, but in a file
//! in the guest's memory, which it finds open from its start.
//!
//! ```text
//! length: 4 bytes, little-endian · that many bytes of JSON · the rest of FILE bytes
//! ```

use nanoserde::{DeJson, SerJson};

/// What the guest's process finds the file open as.
pub const DESCRIPTOR: i32 = 3;

/// How long the file is, in bytes.
pub const FILE: usize = 64 << 10;

/// How many of them say how long the verdict is.
pub const HEAD: usize = size_of::<u32>();

/// How long a verdict may be, in bytes of JSON.
pub const LONGEST: usize = FILE - HEAD;

/// How a test's body ended.
#[derive(Clone, Debug, PartialEq, Eq, DeJson, SerJson)]
pub enum Verdict {
    /// It returned something that makes this exit status.
    Returned(u8),
    /// It panicked; the message has been printed.
    Panicked(String),
    /// It found that it cannot run here.
    Skipped(String),
}

impl Verdict {
    /// As it is told: JSON of at most [`LONGEST`] bytes. A message that is longer is cut.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (kind, message): (fn(String) -> Self, &String) = match self {
            Self::Returned(_) => return self.serialize_json(),
            Self::Panicked(message) => (Self::Panicked, message),
            Self::Skipped(message) => (Self::Skipped, message),
        };
        let mut kept = message.len().min(LONGEST);
        loop {
            kept = (0..=kept).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            let cut = if kept < message.len() { CUT } else { "" };
            let text = kind(format!("{}{cut}", &message[..kept])).serialize_json();
            let Some(excess @ 1..) = text.len().checked_sub(LONGEST) else { return text };
            // A byte takes six at most, as `\u0001` does.
            kept = kept.saturating_sub(excess.div_ceil(6));
        }
    }

    /// What [`to_text`](Self::to_text) made; `None` of all else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= LONGEST)?;
        // The parser is lenient.
        Self::deserialize_json(text).ok().filter(|verdict| verdict.serialize_json() == text)
    }
}

/// What ends a message that was cut.
const CUT: &str = " [...]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_survives_the_way() {
        let told = [
            Verdict::Returned(0),
            Verdict::Returned(255),
            Verdict::Panicked("a\n\u{1b}\0\"\\ä\u{1f980}".into()),
            Verdict::Skipped(String::new()),
        ];
        for verdict in told {
            assert_eq!(Verdict::parse(verdict.to_text().as_bytes()), Some(verdict));
        }
    }

    #[test]
    fn a_long_message_is_cut_and_keeps_its_start() {
        for piece in ["x", "\u{1}", "\"", "ä", "\u{1f980}", "\u{1}\u{1f980}x"] {
            let text = Verdict::Panicked(piece.repeat(100_000)).to_text();
            assert!(text.len() <= LONGEST, "{piece:?}: {}", text.len());
            assert!(text.len() > LONGEST - 100, "{piece:?}: {}", text.len());
            let Some(Verdict::Panicked(message)) = Verdict::parse(text.as_bytes()) else {
                panic!("{piece:?}: no verdict");
            };
            let start = message.strip_suffix(CUT).unwrap();
            assert!(piece.repeat(100_000).starts_with(start), "{piece:?}");
        }
    }

    #[test]
    fn what_is_no_verdict_is_none() {
        let bytes: [&[u8]; 15] = [
            b"",
            b"\n",
            b"{",
            b"{}",
            b"null",
            b"{\"Returned\":[256]}",
            b"{\"Returned\":[-1]}",
            b"{\"Returned\":[0]",
            b"{\"Returned\":[0]}\n",
            b"{\"Returned\":[0]} {\"Returned\":[1]}",
            b"{\"Returned\":[]}",
            b"{\"Returned\":[0,1]}",
            b"{\"Passed\":[0]}",
            b"{\"Panicked\":[\"\xff\"]}",
            &[b'['; LONGEST],
        ];
        for bytes in bytes {
            assert_eq!(Verdict::parse(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
