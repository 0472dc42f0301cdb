//! One digest over all that a mirror of a tree would hold.

use std::os::unix::ffi::OsStrExt as _;

use super::manifest::{Entry, Kind, Manifest};

impl Manifest {
    /// The BLAKE3 digest of what the mirror would hold. Two manifests have the same one exactly where
    /// a plan between them is empty.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut block = Vec::new();
        for (path, entry) in self.iter() {
            block.clear();
            put_text(&mut block, path.as_bytes());
            put_entry(&mut block, entry);
            hasher.update(&block);
        }
        *hasher.finalize().as_bytes()
    }
}

/// What [`Entry::same_in_mirror`] compares.
fn put_entry(block: &mut Vec<u8>, entry: &Entry) {
    match &entry.kind {
        Kind::File { size, hash } => {
            block.push(b'f');
            block.extend(size.to_le_bytes());
            block.extend(hash);
            block.extend(entry.mode.to_le_bytes());
            block.extend(entry.mtime.whole_seconds().to_le_bytes());
        }
        Kind::Directory => {
            block.push(b'd');
            block.extend(entry.mode.to_le_bytes());
        }
        Kind::Symlink { target } => {
            block.push(b'l');
            put_text(block, target.as_bytes());
        }
        Kind::Unsure => block.push(b'?'),
    }
}

/// With its length, so that no two run into each other.
fn put_text(block: &mut Vec<u8>, text: &[u8]) {
    block.extend((text.len() as u64).to_le_bytes());
    block.extend(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::manifest::Timestamp;

    fn digest(path: &str, kind: Kind, mode: u32, seconds: i64) -> [u8; 32] {
        let mtime = Timestamp { seconds, nanos: 7 };
        let entry = Entry { kind, mode, mtime, stamp: None };
        Manifest::new(Timestamp::now(), vec![(path.into(), entry)]).digest()
    }

    #[test]
    fn whatever_a_guest_would_see_counts_and_nothing_else() {
        let file = |size, byte| Kind::File { size, hash: [byte; 32] };
        let one = digest("a", file(1, 1), 0o644, 5);
        assert_eq!(one, digest("a", file(1, 1), 0o644, 5));
        let others = [
            digest("b", file(1, 1), 0o644, 5),
            digest("a", file(2, 1), 0o644, 5),
            digest("a", file(1, 2), 0o644, 5),
            digest("a", file(1, 1), 0o755, 5),
            digest("a", file(1, 1), 0o644, 6),
            digest("a", Kind::Directory, 0o644, 5),
            digest("a", Kind::Symlink { target: "b".into() }, 0o644, 5),
            Manifest::default().digest(),
        ];
        assert!(!others.contains(&one));
        // Of a directory its times are not sent.
        assert_eq!(digest("a", Kind::Directory, 0, 1), digest("a", Kind::Directory, 0, 2));
    }
}
