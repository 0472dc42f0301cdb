//! What fuzz targets share: their seeds, and inputs near to them.
//!
//! Random bytes seldom get past the first check of a format. So a target runs on its seeds, on the
//! bytes that the engine makes, and on seeds that those bytes change, read as a list of edits.

use std::path::Path;

/// The longest input that edits may make of a seed, in bytes.
const LONGEST: usize = 1 << 16;

/// The inputs that are kept for a target, `seeds/NAME/*`, in order of their names.
///
/// # Panics
/// Where they cannot be read, or there are none.
#[must_use]
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let entries = std::fs::read_dir(&directory).expect("every target has a directory of seeds");
    let mut paths: Vec<_> =
        entries.map(|entry| entry.expect("the directory can be read").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "`{}` is empty", directory.display());
    paths.iter().map(|path| std::fs::read(path).expect("a seed can be read")).collect()
}

/// The seed that a script names, changed by the script: one byte names the seed, then each edit is
/// four bytes: what to do, where (two bytes), and with which byte.
#[must_use]
pub fn mutated(seeds: &[Vec<u8>], script: &[u8]) -> Vec<u8> {
    let Some((which, edits)) = script.split_first() else { return Vec::new() };
    let mut bytes = seeds[usize::from(*which) % seeds.len()].clone();
    for edit in edits.chunks_exact(4) {
        let place = usize::from(u16::from_le_bytes([edit[1], edit[2]]));
        edit_at(&mut bytes, edit[0], place, edit[3]);
    }
    bytes
}

fn edit_at(bytes: &mut Vec<u8>, what: u8, place: usize, with: u8) {
    let at = place % (bytes.len() + 1);
    match what % 6 {
        0 if at < bytes.len() => bytes[at] = with,
        1 if at < bytes.len() => bytes[at] ^= 1 << (with % 8),
        2 => bytes.insert(at, with),
        3 => bytes.truncate(at),
        // A piece again: lengths and counts no longer match.
        4 if bytes.len() < LONGEST => {
            let piece = bytes[at..].to_vec();
            bytes.extend(piece.into_iter().take(usize::from(with)));
        }
        // An extreme number, where four bytes may be one.
        5 if at + 4 <= bytes.len() => {
            let extremes = [u32::MAX, u32::MAX - 1, i32::MAX.cast_unsigned(), 1 << 18, 0];
            let number = extremes[usize::from(with) % extremes.len()];
            let number = if with & 0x80 == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
            bytes[at..at + 4].copy_from_slice(&number);
        }
        _ => {}
    }
}
