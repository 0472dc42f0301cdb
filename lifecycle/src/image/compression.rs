//! Decompression of what kernels and kernel modules come packed in. Knows formats, not what is
//! inside them.

use std::io::{self, Read as _};

const LZ4_LEGACY_MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];
/// What one block of a legacy LZ4 stream holds at most, uncompressed.
const LZ4_LEGACY_BLOCK: usize = 8 << 20;

/// A compression format, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// The old LZ4 stream format, which only kernels still use.
    Lz4Legacy,
}

impl Compression {
    /// Tells the format of `bytes`, or `None` where it is none that is known.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ if bytes.starts_with(&LZ4_LEGACY_MAGIC) => Some(Self::Lz4Legacy),
            _ => None,
        }
    }

    /// Decompresses the one stream at the start of `bytes`.
    ///
    /// Bytes after the stream's end are ignored, except with [`Compression::Lz4Legacy`], whose
    /// streams have no end mark.
    ///
    /// # Errors
    /// Where the stream is damaged or cut short.
    pub fn decompress(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out)?,
            Self::Xz => lzma_rust2::XzReader::new(bytes, false).read_to_end(&mut out)?,
            Self::Zstd => ruzstd::decoding::StreamingDecoder::new(bytes)
                .map_err(io::Error::other)?
                .read_to_end(&mut out)?,
            Self::Lz4Legacy => return lz4_legacy(bytes),
        };
        Ok(out)
    }
}

/// Decompresses `bytes` where they are compressed, and hands them back as they are where not.
///
/// # Errors
/// As [`Compression::decompress`].
pub fn decompress_if_needed(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    match Compression::of(&bytes) {
        Some(format) => format.decompress(&bytes),
        None => Ok(bytes),
    }
}

/// A magic, then blocks to the end: length as four little-endian bytes, then a raw LZ4 block.
fn lz4_legacy(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut rest = &bytes[LZ4_LEGACY_MAGIC.len()..];
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk::<4>().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (block, tail) = tail.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        let plain =
            lz4_flex::block::decompress(block, LZ4_LEGACY_BLOCK).map_err(io::Error::other)?;
        out.extend_from_slice(&plain);
        rest = tail;
    }
    Ok(out)
}

#[cfg(test)]
pub(super) mod testing {
    use std::io::Write as _;

    use super::{Compression, LZ4_LEGACY_MAGIC};

    /// Compresses in each of the formats.
    pub(crate) fn compress(format: Compression, plain: &[u8]) -> Vec<u8> {
        match format {
            Compression::Gzip => {
                let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                to.write_all(plain).unwrap();
                to.finish().unwrap()
            }
            Compression::Xz => {
                let options = lzma_rust2::XzOptions::with_preset(1);
                let mut to = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
                to.write_all(plain).unwrap();
                to.finish().unwrap()
            }
            Compression::Zstd => {
                let level = ruzstd::encoding::CompressionLevel::Fastest;
                ruzstd::encoding::compress_to_vec(plain, level)
            }
            Compression::Lz4Legacy => {
                let mut out = LZ4_LEGACY_MAGIC.to_vec();
                for block in plain.chunks(super::LZ4_LEGACY_BLOCK) {
                    let packed = lz4_flex::block::compress(block);
                    out.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
                    out.extend_from_slice(&packed);
                }
                out
            }
        }
    }

    pub(crate) const ALL: [Compression; 4] =
        [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Lz4Legacy];
}

#[cfg(test)]
mod tests {
    use super::testing::{ALL, compress};
    use super::*;

    #[test]
    fn every_format_comes_back() {
        let plain: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for format in ALL {
            let packed = compress(format, &plain);
            assert_eq!(Compression::of(&packed), Some(format));
            assert!(format.decompress(&packed).unwrap() == plain, "{format:?}");
        }
    }

    #[test]
    fn lz4_crosses_its_block_limit() {
        let plain: Vec<u8> = vec![7; LZ4_LEGACY_BLOCK + 5];
        let packed = compress(Compression::Lz4Legacy, &plain);
        assert_eq!(Compression::Lz4Legacy.decompress(&packed).unwrap().len(), plain.len());
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let plain: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
        for format in ALL {
            let packed = compress(format, &plain);
            assert!(format.decompress(&packed[..packed.len() / 2]).is_err(), "{format:?}");
        }
    }

    #[test]
    fn plain_bytes_pass_through() {
        assert_eq!(decompress_if_needed(b"\x7fELF".to_vec()).unwrap(), b"\x7fELF");
        assert_eq!(decompress_if_needed(Vec::new()).unwrap(), b"");
    }
}
