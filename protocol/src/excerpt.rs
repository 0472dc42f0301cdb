//! The beginning and the end of what somebody writes: all of it where that is not much.

use std::collections::VecDeque;

use crate::text::left_out;

/// What was written so far; of much of it, so many bytes of either end, in which some of a line or of a
/// character may be missing.
#[derive(Clone, Debug)]
pub struct Excerpt {
    most: usize,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    gone: u64,
}

impl Excerpt {
    /// Keeps so many bytes of the beginning, and as many of the end.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, head: Vec::new(), tail: VecDeque::new(), gone: 0 }
    }

    /// Takes in what was written next.
    pub fn push(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(self.most - self.head.len()));
        self.head.extend(head);
        let fits = rest.len().min(self.most);
        let (over, rest) = rest.split_at(rest.len() - fits);
        let surplus = (self.tail.len() + rest.len()).saturating_sub(self.most);
        self.tail.drain(..surplus);
        self.gone += (over.len() + surplus) as u64;
        self.tail.extend(rest);
    }

    /// How many bytes are left out.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.gone
    }

    /// Both ends, and in a line between them what is left out.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        let Self { head: mut all, tail, gone, .. } = self;
        if gone > 0 {
            all.extend(format!("\n{}\n", left_out(gone)).as_bytes());
        }
        all.extend(tail);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of pieces, at four bytes an end.
    fn of(pieces: &[&str]) -> String {
        let mut excerpt = Excerpt::new(4);
        pieces.iter().for_each(|piece| excerpt.push(piece.as_bytes()));
        String::from_utf8(excerpt.into_bytes()).unwrap()
    }

    #[test]
    fn what_is_not_much_is_kept_whole() {
        assert_eq!(of(&[]), "");
        assert_eq!(of(&["ab", "", "cdefgh"]), "abcdefgh");
    }

    #[test]
    fn of_much_both_ends_are_kept_however_it_comes() {
        let expected = "0123\n[... 8 bytes left out ...]\ncdef";
        let all = "0123456789abcdef";
        assert_eq!(of(&[all]), expected);
        assert_eq!(of(&[&all[..2], &all[2..15], &all[15..]]), expected);
        let single: Vec<_> = (0..all.len()).map(|at| &all[at..=at]).collect();
        assert_eq!(of(&single), expected);
    }

    #[test]
    fn a_flood_takes_no_more_memory_than_is_kept() {
        let mut excerpt = Excerpt::new(1 << 10);
        (0..1000).for_each(|_| excerpt.push(&[b'x'; 5000]));
        assert!(excerpt.head.capacity() + excerpt.tail.capacity() < 8 << 10);
        assert_eq!(excerpt.left_out(), 5_000_000 - (2 << 10));
    }
}
