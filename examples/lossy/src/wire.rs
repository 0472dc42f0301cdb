//! What a datagram looks like: a sequence number, then the line. An answer has no line.

/// The longest line, in bytes: its datagram fits an unfragmented packet of any ordinary link.
pub(crate) const MAX_LINE: usize = 1024;

const NUMBER: usize = size_of::<u64>();

/// Room for the largest datagram.
pub(crate) const MAX_DATAGRAM: usize = NUMBER + MAX_LINE;

/// The datagram for a line.
pub(crate) fn encode(sequence: u64, line: &str) -> Vec<u8> {
    [&sequence.to_be_bytes(), line.as_bytes()].concat()
}

/// Number and line of a datagram; `None` for what no client or server of ours sent.
pub(crate) fn decode(datagram: &[u8]) -> Option<(u64, &str)> {
    let (sequence, line) = datagram.split_first_chunk::<NUMBER>()?;
    Some((u64::from_be_bytes(*sequence), std::str::from_utf8(line).ok()?))
}
