//! The manifest's file: one flat, versioned, checksummed run of bytes.
//!
//! Tens of thousands of entries are read at the start of every run, also by unoptimised builds, so
//! each entry is one fixed block of numbers followed by its path, and nothing else is clever.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use camino::Utf8Path;
use fs_err as fs;

use super::manifest::{Entry, Kind, Manifest, Stamp, Timestamp};

/// Names the format and its version: change the digit with any change of the layout.
const MAGIC: &[u8; 16] = b"banger-manifest1";
const HASH: usize = blake3::OUT_LEN;
/// Per entry: kind, stamped, mode, modified (8+4), inode, changed (8+4), size, hash, two lengths.
const BLOCK: usize = 1 + 1 + 4 + 12 + 8 + 12 + 8 + HASH + 4 + 4;

/// Reads a manifest; anything wrong with it makes it no manifest.
pub(super) fn load(path: &Utf8Path) -> Option<Manifest> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::debug!(%error, "no sync manifest");
            return None;
        }
    };
    let manifest = decode(&bytes);
    if manifest.is_none() {
        tracing::debug!(%path, "sync manifest is damaged or of another version");
    }
    manifest
}

/// Writes a manifest beside its place and renames it in.
pub(super) fn save(manifest: &Manifest, path: &Utf8Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Utf8Path::new("."));
    fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&encode(manifest))?;
    file.persist(path)?;
    Ok(())
}

fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64 + manifest.entries.len() * (BLOCK + 64));
    bytes.extend_from_slice(MAGIC);
    put_time(&mut bytes, manifest.scanned);
    bytes.extend_from_slice(&(manifest.entries.len() as u64).to_le_bytes());
    for (path, entry) in &manifest.entries {
        put_entry(&mut bytes, path.as_bytes(), entry);
    }
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes
}

fn put_entry(bytes: &mut Vec<u8>, path: &[u8], entry: &Entry) {
    let (kind, size, hash, target): (u8, u64, [u8; HASH], &[u8]) = match &entry.kind {
        Kind::File { size, hash } => (0, *size, *hash, &[]),
        Kind::Directory => (1, 0, [0; HASH], &[]),
        Kind::Symlink { target } => (2, 0, [0; HASH], target.as_bytes()),
        Kind::Unsure => (3, 0, [0; HASH], &[]),
    };
    let stamp = entry.stamp.unwrap_or(Stamp { inode: 0, ctime: Timestamp::default() });
    bytes.push(kind);
    bytes.push(u8::from(entry.stamp.is_some()));
    bytes.extend_from_slice(&entry.mode.to_le_bytes());
    put_time(bytes, entry.mtime);
    bytes.extend_from_slice(&stamp.inode.to_le_bytes());
    put_time(bytes, stamp.ctime);
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&hash);
    for length in [path.len(), target.len()] {
        // A path is far below 4 GiB: the kernel takes at most 4096 bytes.
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(0).to_le_bytes());
    }
    bytes.extend_from_slice(path);
    bytes.extend_from_slice(target);
}

fn put_time(bytes: &mut Vec<u8>, time: Timestamp) {
    bytes.extend_from_slice(&time.seconds.to_le_bytes());
    bytes.extend_from_slice(&time.nanos.to_le_bytes());
}

fn decode(bytes: &[u8]) -> Option<Manifest> {
    let (content, checksum) = bytes.split_last_chunk::<HASH>()?;
    let mut rest = content.strip_prefix(MAGIC)?;
    if blake3::hash(content).as_bytes() != checksum {
        return None;
    }
    let head: [u8; 20] = take(&mut rest)?;
    let count = usize::try_from(u64_at(&head, 12)).ok()?;
    // The count is not trusted with memory: each entry takes at least a block.
    let mut entries = Vec::with_capacity(count.min(rest.len() / BLOCK));
    for _ in 0..count {
        entries.push(take_entry(&mut rest)?);
    }
    let sorted = entries.windows(2).all(|pair| pair[0].0 < pair[1].0);
    (rest.is_empty() && sorted).then_some(Manifest { scanned: time_at(&head, 0), entries })
}

fn take_entry(rest: &mut &[u8]) -> Option<(OsString, Entry)> {
    let block: [u8; BLOCK] = take(rest)?;
    let path = take_name(rest, u32_at(&block, BLOCK - 8))?;
    let target = take_name(rest, u32_at(&block, BLOCK - 4))?;
    let kind = match block[0] {
        0 => Kind::File {
            size: u64_at(&block, 38),
            hash: *block[46..].first_chunk().expect("the block holds a hash"),
        },
        1 => Kind::Directory,
        2 => Kind::Symlink { target },
        3 => Kind::Unsure,
        _ => return None,
    };
    let stamp =
        (block[1] == 1).then(|| Stamp { inode: u64_at(&block, 18), ctime: time_at(&block, 26) });
    let entry = Entry { kind, mode: u32_at(&block, 2), mtime: time_at(&block, 6), stamp };
    Some((path, entry))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (block, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*block)
}

fn take_name(rest: &mut &[u8], length: u32) -> Option<OsString> {
    let (name, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(OsString::from_vec(name.to_vec()))
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*block[at..].first_chunk().expect("the block holds the number"))
}

fn u64_at(block: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*block[at..].first_chunk().expect("the block holds the number"))
}

fn time_at(block: &[u8], at: usize) -> Timestamp {
    Timestamp { seconds: u64_at(block, at).cast_signed(), nanos: u32_at(block, at + 8) }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn sample() -> Manifest {
        let entry = |kind, stamp| Entry {
            kind,
            mode: 0o644,
            mtime: Timestamp { seconds: -7, nanos: 999_999_999 },
            stamp,
        };
        let stamp = Some(Stamp { inode: 9, ctime: Timestamp { seconds: 1 << 40, nanos: 3 } });
        Manifest::new(
            Timestamp { seconds: 1, nanos: 2 },
            vec![
                ("dir".into(), entry(Kind::Directory, None)),
                (
                    OsStr::from_bytes(b"dir/a b\n\xff").to_owned(),
                    entry(Kind::File { size: u64::MAX, hash: [0xab; HASH] }, stamp),
                ),
                ("link".into(), entry(Kind::Symlink { target: "/no/where".into() }, None)),
                ("odd".into(), entry(Kind::Unsure, None)),
            ],
        )
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(directory.path()).unwrap().join("new/manifest");
        sample().save(&path).unwrap();
        assert_eq!(Manifest::load(&path), Some(sample()));
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file is left");
    }

    #[test]
    fn a_missing_damaged_or_foreign_file_is_no_manifest() {
        let directory = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(directory.path()).unwrap().join("manifest");
        assert_eq!(Manifest::load(&path), None);
        let good = encode(&sample());
        for length in [0, 1, 15, 16, 40, good.len() - 1] {
            assert_eq!(decode(&good[..length]), None, "cut to {length}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(decode(&bad), None, "bit flipped at {at}");
        }
        assert_eq!(decode(&good), Some(sample()));
    }
}
