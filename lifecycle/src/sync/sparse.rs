//! Writes file content so that holes stay holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// What file systems allocate at once, in bytes.
const BLOCK: u64 = 4096;

/// Writes at an offset, but for blocks of zeros: where nothing was written there are zeros anyway.
/// The file's length has to be set at the end.
pub(super) fn write_at(file: &File, offset: u64, content: &[u8]) -> io::Result<()> {
    let mut from = 0;
    while from < content.len() {
        let to = end_of_block(offset, from, content);
        if is_zero(&content[from..to]) {
            from = to;
            continue;
        }
        let mut end = to;
        while end < content.len() {
            let next = end_of_block(offset, end, content);
            if is_zero(&content[end..next]) {
                break;
            }
            end = next;
        }
        file.write_all_at(&content[from..end], offset + from as u64)?;
        from = end;
    }
    Ok(())
}

/// Where in the content the block ends that its byte `at` is in.
fn end_of_block(offset: u64, at: usize, content: &[u8]) -> usize {
    let within = (offset + at as u64) % BLOCK;
    // At most a block.
    content.len().min(at + (BLOCK - within) as usize)
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn zeros_become_holes_and_the_rest_is_as_it_was() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut content = vec![0; 1 << 20];
        for at in [0, 4095, 4096, 100_000, 300_000, 1 << 19, (1 << 20) - 1] {
            content[at] = 7;
        }
        // Chunks that end within blocks.
        for (number, chunk) in content.chunks(99_999).enumerate() {
            write_at(file.as_file(), number as u64 * 99_999, chunk).unwrap();
        }
        file.as_file().set_len(1 << 20).unwrap();
        assert_eq!(fs_err::read(file.path()).unwrap(), content);
        let stored = file.as_file().metadata().unwrap().blocks() * 512;
        assert!(stored <= 64 << 10, "{stored} bytes stored");
    }

    #[test]
    fn what_has_no_holes_is_written_at_once() {
        let block = BLOCK as usize;
        assert_eq!(end_of_block(1, 0, &[1; 3 * 4096]), block - 1);
        assert_eq!(end_of_block(0, block, &[1; 3 * 4096]), 2 * block);
        assert!(is_zero(&[0; 35]) && !is_zero(&[0, 0, 1]));
    }
}
