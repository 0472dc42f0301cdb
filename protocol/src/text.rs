//! Text of others on its way to a person's terminal: a guest's, a file name's, a tool's.
//!
//! What a command in a guest writes is its own and passes as it is. What stands in a message of ours
//! goes through [`shown`] where the message is printed, so that it can neither steer the terminal nor
//! fill it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// How long a text in a message may be, in bytes. Of a longer one the middle is left out.
pub const LONGEST: usize = 8 << 10;

/// A text with all that steers a terminal made visible, as `\x1b` or `\u{9b}`; line ends and tabs stay.
///
/// That is control characters (also those of eight bits), and what changes the direction or the line of
/// the text after it.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(steers) else { return Cow::Borrowed(text) };
    let (start, rest) = text.split_at(first);
    let mut plain = String::with_capacity(text.len() + 16);
    plain.push_str(start);
    let mut characters = rest.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // Half of a line end.
            '\r' if characters.peek() == Some(&'\n') => {}
            '\r' => plain.push_str("\\r"),
            ascii if steers(ascii) && ascii.is_ascii() => {
                let _ = write!(plain, "\\x{:02x}", u32::from(ascii));
            }
            other if steers(other) => {
                let _ = write!(plain, "\\u{{{:x}}}", u32::from(other));
            }
            other => plain.push(other),
        }
    }
    Cow::Owned(plain)
}

/// A text of at most so many bytes, and what is said of those that were left out of its middle.
#[must_use]
pub fn brief(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let whole = |at: &usize| text.is_char_boundary(*at);
    let head = (0..=most / 2).rev().find(whole).unwrap_or(0);
    let tail = (text.len() - most / 2..text.len()).find(whole).unwrap_or(text.len());
    Cow::Owned(format!("{}{}{}", &text[..head], left_out((tail - head) as u64), &text[tail..]))
}

/// What stands for bytes that were left out.
#[must_use]
pub fn left_out(bytes: u64) -> String {
    format!("[... {bytes} bytes left out ...]")
}

/// A text as it may stand in a message: [brief](LONGEST) and [plain].
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    match brief(text, LONGEST) {
        Cow::Borrowed(text) => plain(text),
        Cow::Owned(text) => Cow::Owned(plain(&text).into_owned()),
    }
}

/// JSON with the same made visible as `\u009b`, which it is the same JSON with: such characters stand within
/// strings only.
#[must_use]
pub fn plain_json(json: &str) -> Cow<'_, str> {
    if !json.contains(steers) {
        return Cow::Borrowed(json);
    }
    let mut plain = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if steers(character) {
            let _ = write!(plain, "\\u{:04x}", u32::from(character));
        } else {
            plain.push(character);
        }
    }
    Cow::Owned(plain)
}

/// Whether a terminal takes a character for more than itself.
fn steers(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // Marks, embeddings, overrides and isolates of direction; separators of lines and paragraphs;
        // a mark that is not seen, and notes between lines.
        '\u{61c}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' => true,
        other => other.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_seen() {
        assert_eq!(plain("\x1b]0;owned\x07\x08\x7f\0"), r"\x1b]0;owned\x07\x08\x7f\x00");
        assert_eq!(plain("a\u{9b}2J\u{85}b"), r"a\u{9b}2J\u{85}b");
        assert_eq!(
            plain("x\u{202e}fdp\u{2066}\u{2028}\u{200f}"),
            r"x\u{202e}fdp\u{2066}\u{2028}\u{200f}"
        );
        assert_eq!(plain("safe\roverwritten"), r"safe\roverwritten");
    }

    #[test]
    fn other_text_stays_as_it_is() {
        for text in ["", "a\tb\nc", "ä 日本 👩\u{200d}🚀 e\u{301}", r"C:\x1b"] {
            assert!(matches!(plain(text), Cow::Borrowed(same) if same == text));
        }
        assert_eq!(plain("one\r\ntwo\r\n"), "one\ntwo\n");
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({ "k\u{202e}": "\x1b\u{9b}\x7f\n\u{feff}\"" });
        let text = serde_json::to_string_pretty(&value).unwrap();
        let seen = plain_json(&text);
        assert!(!seen.contains(steers) && seen.contains("\\u009b"), "{seen}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&seen).unwrap(), value);
    }

    #[test]
    fn of_long_text_both_ends_are_shown() {
        let long = format!("start{}\x1bend", "ä".repeat(1 << 20));
        let text = shown(&long);
        assert!(text.len() < LONGEST + 100, "{}", text.len());
        assert!(text.starts_with("startä") && text.ends_with(r"ä\x1bend"), "{text}");
        assert!(text.contains(" bytes left out "), "{text}");
        assert_eq!(brief("short", 5), "short");
    }
}
