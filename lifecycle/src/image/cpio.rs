//! Writes cpio archives of the "newc" format, the only one a kernel unpacks as an initrd.
//!
//! Kernels unpack several archives that follow each other in one file, so a segment made here can
//! be appended to another.

/// What every segment's length is a multiple of, so that the next one starts where the kernel
/// looks for it.
const SEGMENT_ALIGNMENT: usize = 512;
/// The bits of a mode that tell what kind of entry it is.
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// An archive in memory. Entries belong to root, carry no time, and keep the order of the calls;
/// the same calls give the same bytes.
#[derive(Debug, Default)]
#[must_use = "an archive is written by `finish`"]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory. `path` is relative; its parents must have been added before, or stand
    /// in an earlier segment.
    pub fn dir(&mut self, path: &str, mode: u32) -> &mut Self {
        self.entry(path, DIRECTORY | mode, &[])
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> &mut Self {
        self.entry(path, FILE | mode, content)
    }

    /// Adds a symbolic link to `target`.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.entry(path, SYMLINK | 0o777, target.as_bytes())
    }

    /// Ends the archive and returns its bytes, padded so that another segment can follow.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.header("TRAILER!!!", 0, 0, 0);
        self.pad(SEGMENT_ALIGNMENT);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> &mut Self {
        self.entries += 1;
        let path = path.trim_start_matches('/');
        let size = u32::try_from(content.len()).expect("an initrd's file is far below 4 GiB");
        self.header(path, self.entries, mode, size);
        self.bytes.extend_from_slice(content);
        self.pad(4);
        self
    }

    fn header(&mut self, name: &str, inode: u32, mode: u32, size: u32) {
        let links = if mode & KIND == DIRECTORY { 2 } else { 1 };
        let name_size = u32::try_from(name.len() + 1).expect("a path is far below 4 GiB");
        // inode, mode, uid, gid, links, mtime, size, device (2), device number (2), name, check
        let fields = [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad(4);
    }

    fn pad(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
}

#[cfg(test)]
pub(super) mod testing {
    /// One entry read back: name, mode, content.
    pub(crate) type Entry = (String, u32, Vec<u8>);

    /// Reads the segments of a newc file back.
    pub(crate) fn read(mut bytes: &[u8]) -> Vec<Entry> {
        let number = |bytes: &[u8], at: usize| {
            let text = std::str::from_utf8(&bytes[6 + at * 8..][..8]).unwrap();
            u32::from_str_radix(text, 16).unwrap()
        };
        let mut entries = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let (mode, size) = (number(bytes, 1), number(bytes, 6) as usize);
            let name_size = number(bytes, 11) as usize;
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let start = (110 + name_size).next_multiple_of(4);
            let content = bytes[start..start + size].to_vec();
            bytes = &bytes[(start + size).next_multiple_of(4)..];
            if name == "TRAILER!!!" {
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                bytes = &bytes[zeros..];
            } else {
                entries.push((name, mode, content));
            }
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new();
        archive
            .dir("bin", 0o755)
            .file("/bin/tool", 0o755, b"#!/bin/sh\n")
            .symlink("bin/alias", "tool")
            .file("empty", 0o644, b"");
        archive.finish()
    }

    #[test]
    fn entries_read_back() {
        let bytes = sample();
        assert_eq!(bytes.len() % SEGMENT_ALIGNMENT, 0);
        let expected = vec![
            ("bin".to_owned(), 0o040_755, Vec::new()),
            ("bin/tool".to_owned(), 0o100_755, b"#!/bin/sh\n".to_vec()),
            ("bin/alias".to_owned(), 0o120_777, b"tool".to_vec()),
            ("empty".to_owned(), 0o100_644, Vec::new()),
        ];
        assert_eq!(testing::read(&bytes), expected);
    }

    #[test]
    fn segments_follow_each_other() {
        let mut second = Archive::new();
        second.file("init", 0o755, b"x");
        let both = [sample(), second.finish()].concat();
        assert_eq!(testing::read(&both).last().unwrap().0, "init");
    }

    #[test]
    fn the_same_calls_give_the_same_bytes() {
        assert_eq!(sample(), sample());
    }

    #[test]
    fn busybox_reads_it_where_there_is_one() {
        let child = Command::new("busybox")
            .args(["cpio", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = child else { return };
        child.stdin.take().unwrap().write_all(&sample()).unwrap();
        let listed = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        if listed.is_empty() {
            return; // a busybox without cpio
        }
        assert_eq!(listed.lines().collect::<Vec<_>>(), ["bin", "bin/tool", "bin/alias", "empty"]);
    }
}
