//! How requests and replies travel: each a line of JSON, and after some of them bytes as they are.

use std::io::{self, BufRead};

use nanoserde::{DeJson, SerJson};

/// A message as the line that is sent.
#[must_use]
pub fn line(message: &impl SerJson) -> Vec<u8> {
    let mut line = message.serialize_json();
    line.push('\n');
    line.into_bytes()
}

/// The message in a line.
///
/// # Errors
/// Where it is none, with the start of the line.
pub fn parse<T: DeJson>(line: &[u8]) -> io::Result<T> {
    let text = String::from_utf8_lossy(line);
    T::deserialize_json(&text).map_err(|error| {
        let start: String = text.trim_end().chars().take(200).collect();
        io::Error::new(io::ErrorKind::InvalidData, format!("{error} in `{start}`"))
    })
}

/// Reads the next message, or `None` at the end.
///
/// # Errors
/// Where reading fails or what was read is no message.
pub fn read<T: DeJson>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    if from.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    parse(&line).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::{Reply, Stream};
    use crate::request::{Request, Run, Start};

    #[test]
    fn messages_survive_the_way() {
        let run =
            Run { argv: vec!["a\n\u{1b}\0\"\\ä\u{1f980}".into()], input: 3, ..Run::default() };
        let sent = [
            Request::Start(Start { program: Some("/x".into()), ..Start::default() }),
            Request::Run(run),
            Request::Shutdown,
        ];
        let bytes: Vec<u8> = sent.iter().flat_map(line).collect();
        let mut from = bytes.as_slice();
        for request in sent {
            assert_eq!(read(&mut from).unwrap(), Some(request));
        }
        assert_eq!(read::<Request>(&mut from).unwrap(), None);
    }

    #[test]
    fn bytes_follow_their_message() {
        let mut bytes = line(&Reply::Output { stream: Stream::Stdout, bytes: 3 });
        bytes.extend(b"\n{\xff");
        let mut from = bytes.as_slice();
        let reply = read::<Reply>(&mut from).unwrap();
        assert_eq!(reply, Some(Reply::Output { stream: Stream::Stdout, bytes: 3 }));
        assert_eq!(from, b"\n{\xff");
    }

    #[test]
    fn what_is_no_message_is_quoted() {
        let error = parse::<Request>(b"error: no such command\n").unwrap_err().to_string();
        assert!(error.contains("`error: no such command`"), "{error}");
    }
}
