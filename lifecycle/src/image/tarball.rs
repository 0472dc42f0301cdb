//! Single files out of the tar that mmdebstrap writes, without unpacking it.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Seek as _, SeekFrom};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;

/// What a file takes on ext4 or tmpfs is a multiple of this.
const BLOCK: u64 = 4096;
const MOST_LINKS: usize = 8;

/// An indexed tar. Paths have no leading `./`.
#[derive(Debug)]
pub struct Tarball {
    path: Utf8PathBuf,
    entries: BTreeMap<String, Entry>,
    used: u64,
}

#[derive(Debug)]
enum Entry {
    File { at: u64, size: u64 },
    Link(String),
    Other,
}

impl Tarball {
    /// Reads the headers of the tar at `path`.
    ///
    /// # Errors
    /// Where it cannot be read or is no tar.
    pub fn open(path: &Utf8Path) -> io::Result<Self> {
        let mut archive = tar::Archive::new(fs::File::open(path)?);
        let (mut entries, mut used) = (BTreeMap::new(), 0);
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let name = plain(&entry.path_bytes());
            let link = entry.link_name_bytes().map(|target| plain_link(&target));
            let kind = entry.header().entry_type();
            used += BLOCK + entry.size().next_multiple_of(BLOCK);
            let entry = match (kind, link) {
                (tar::EntryType::Symlink, Some(target)) => Entry::Link(beside(&name, &target)),
                (tar::EntryType::Link, Some(target)) => Entry::Link(plain(target.as_bytes())),
                (kind, _) if kind.is_file() => {
                    Entry::File { at: entry.raw_file_position(), size: entry.size() }
                }
                _ => Entry::Other,
            };
            entries.insert(name, entry);
        }
        Ok(Self { path: path.to_owned(), entries, used })
    }

    /// The tar itself.
    #[must_use]
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// How many files, directories and links there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// At most what the files take when unpacked, in bytes.
    #[must_use]
    pub fn unpacked_size(&self) -> u64 {
        self.used
    }

    /// The content of a file, through links, or `None` where there is none.
    ///
    /// # Errors
    /// Where the tar cannot be read.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let Some((at, size)) = self.find(name) else {
            return Ok(None);
        };
        let mut file = fs::File::open(&self.path)?;
        file.seek(SeekFrom::Start(at))?;
        let mut content = Vec::new();
        file.take(size).read_to_end(&mut content)?;
        Ok(Some(content))
    }

    /// The names of the entries right in a directory.
    pub fn names_in<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a str> {
        let names = self.entries.range(format!("{directory}/")..);
        names
            .map_while(move |(name, _)| name.strip_prefix(directory)?.strip_prefix('/'))
            .filter(|rest| !rest.contains('/'))
    }

    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = name.to_owned();
        for _ in 0..MOST_LINKS {
            match self.entries.get(&name)? {
                Entry::File { at, size } => return Some((*at, *size)),
                Entry::Link(target) => name.clone_from(target),
                Entry::Other => return None,
            }
        }
        None
    }
}

fn plain_link(target: &[u8]) -> String {
    String::from_utf8_lossy(target).into_owned()
}

fn plain(name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    name.trim_start_matches("./").trim_matches('/').to_owned()
}

/// Where a symbolic link at `name` leads.
fn beside(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => name.rsplit_once('/').map_or(Vec::new(), |(dir, _)| dir.split('/').collect()),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
pub(super) mod testing {
    use camino::{Utf8Path, Utf8PathBuf};

    use super::*;

    /// A tar with these files, named as mmdebstrap names them, in a directory that must be kept.
    pub(crate) fn tarball(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Tarball) {
        let dir = tempfile::tempdir().unwrap();
        let path: Utf8PathBuf = Utf8Path::from_path(dir.path()).unwrap().join("root.tar");
        let mut builder = tar::Builder::new(fs::File::create(&path).unwrap());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            if let Some(target) = content.strip_prefix(b"-> ") {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                let target = std::str::from_utf8(target).unwrap();
                builder.append_link(&mut header, format!("./{name}"), target).unwrap();
            } else {
                header.set_size(content.len() as u64);
                builder.append_data(&mut header, format!("./{name}"), *content).unwrap();
            }
        }
        builder.into_inner().unwrap();
        let tarball = Tarball::open(&path).unwrap();
        (dir, tarball)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_through_links() {
        let long = format!("usr/{}/file", "long".repeat(40));
        let (_dir, tar) = testing::tarball(&[
            ("boot/vmlinuz-1", b"one"),
            ("boot/sub/deep", b""),
            ("usr/bin/busybox", b"box"),
            ("usr/bin/sh", b"-> busybox"),
            ("bin/sh", b"-> ../usr/bin/sh"),
            ("etc/loop", b"-> /etc/loop"),
            (&long, b"long"),
        ]);
        assert_eq!(tar.read("boot/vmlinuz-1").unwrap().unwrap(), b"one");
        assert_eq!(tar.read("bin/sh").unwrap().unwrap(), b"box");
        assert_eq!(tar.read(&long).unwrap().unwrap(), b"long");
        assert_eq!(tar.read("etc/loop").unwrap(), None);
        assert_eq!(tar.read("none").unwrap(), None);
        assert_eq!(tar.names_in("boot").collect::<Vec<_>>(), ["vmlinuz-1"]);
        assert_eq!(tar.count(), 7);
        assert!(tar.unpacked_size() > 7 * BLOCK);
    }

    #[test]
    fn what_is_no_tar_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("x");
        fs::write(&path, [b'x'; 2048]).unwrap();
        assert!(Tarball::open(&path).is_err());
    }
}
