//! Takes the ELF kernel out of a bzImage, so that a VMM can boot it without its decompressor.
//! Knows the x86 boot header; does not know where kernels come from.

use std::io;

use camino::Utf8Path;

use super::compression::Compression;
use crate::input_file::{self, Links};

const ELF_MAGIC: &[u8] = b"\x7fELF";
/// Where the boot header's fields stand in a bzImage (the kernel's x86 boot protocol).
const SETUP_SECTS: usize = 0x1f1;
const HEADER_MAGIC: usize = 0x202;
const BOOT_VERSION: usize = 0x206;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;
/// The first version of the header that says where the payload is.
const FIRST_VERSION_WITH_PAYLOAD: u16 = 0x0208;
const SECTOR: usize = 512;
/// The uncompressed size that the kernel's build appends to a payload that does not hold it.
const SIZE_TRAILER: usize = 4;
/// How much a kernel of the user's own may hold, in bytes: one with all of its debug information has 1 GB.
const LARGEST: u64 = 2 << 30;

/// Why there is no ELF kernel to be had from a file.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The file cannot be read.
    #[error("cannot read the kernel")]
    Read(#[source] io::Error),
    /// It is something else.
    #[error("{0} is neither an ELF kernel nor a bzImage")]
    NotAKernel(String),
    /// The boot header is of a kernel before 2.6.26.
    #[error("the bzImage's boot header is too old: version {:#06x}", .0)]
    TooOld(u16),
    /// The header points outside the file.
    #[error("the bzImage is cut short")]
    Truncated,
    /// The payload is packed in a format that is not known.
    #[error("the bzImage's payload is compressed in an unknown format (it starts with `{0}`)")]
    UnknownCompression(String),
    /// The payload does not unpack.
    #[error("cannot decompress the bzImage's payload ({format:?})")]
    Decompress {
        /// What it is packed in.
        format: Compression,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What came out is no kernel.
    #[error("the bzImage's payload is not an ELF file")]
    PayloadNotElf,
}

impl KernelError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotAKernel(_) => Some(
                "give the file a distribution installs as `/boot/vmlinuz-…`, or the `vmlinux` \
                 or `arch/x86/boot/bzImage` of a kernel build"
                    .to_owned(),
            ),
            Self::UnknownCompression(_) => Some(
                "kernels packed with gzip, xz, zstd or lz4 work; or give the `vmlinux` itself"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

/// The ELF kernel inside a bzImage. A file that already is an ELF passes through.
///
/// # Errors
/// Where `image` is neither, or is damaged.
pub fn elf_from_bzimage(image: &[u8]) -> Result<Vec<u8>, KernelError> {
    if image.starts_with(ELF_MAGIC) {
        return Ok(image.to_vec());
    }
    let payload = payload(image)?;
    let format = Compression::of(payload).ok_or_else(|| {
        let start: String = payload.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        KernelError::UnknownCompression(start)
    })?;
    let stream = match format {
        Compression::Lz4Legacy => &payload[..payload.len().saturating_sub(SIZE_TRAILER)],
        _ => payload,
    };
    let elf =
        format.decompress(stream).map_err(|source| KernelError::Decompress { format, source })?;
    if elf.starts_with(ELF_MAGIC) { Ok(elf) } else { Err(KernelError::PayloadNotElf) }
}

/// Reads a kernel file of the user's own, ELF or bzImage, and returns the ELF.
///
/// # Errors
/// As [`elf_from_bzimage`], and where the file cannot be read.
pub fn read_kernel(path: &Utf8Path) -> Result<Vec<u8>, KernelError> {
    let bytes =
        input_file::read(path.as_std_path(), LARGEST, Links::Follow).map_err(KernelError::Read)?;
    elf_from_bzimage(&bytes).map_err(|error| match error {
        KernelError::NotAKernel(_) => KernelError::NotAKernel(format!("`{path}`")),
        other => other,
    })
}

fn payload(image: &[u8]) -> Result<&[u8], KernelError> {
    if image.get(HEADER_MAGIC..HEADER_MAGIC + 4) != Some(b"HdrS") {
        return Err(KernelError::NotAKernel("the file".to_owned()));
    }
    let version = u16::from_le_bytes(field(image, BOOT_VERSION)?);
    if version < FIRST_VERSION_WITH_PAYLOAD {
        return Err(KernelError::TooOld(version));
    }
    let [sectors] = field(image, SETUP_SECTS)?;
    // Zero stands for four, for the sake of very old boot loaders.
    let sectors = if sectors == 0 { 4 } else { usize::from(sectors) };
    let offset = u32::from_le_bytes(field(image, PAYLOAD_OFFSET)?) as usize;
    let length = u32::from_le_bytes(field(image, PAYLOAD_LENGTH)?) as usize;
    let start = (sectors + 1) * SECTOR + offset;
    image.get(start..start + length).ok_or(KernelError::Truncated)
}

fn field<const N: usize>(image: &[u8], at: usize) -> Result<[u8; N], KernelError> {
    image.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or(KernelError::Truncated)
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::super::compression::testing::{ALL, compress};
    use super::*;

    fn elf() -> Vec<u8> {
        let mut elf = ELF_MAGIC.to_vec();
        elf.extend((0..40_000_u32).flat_map(|n| (n / 3).to_le_bytes()));
        elf
    }

    /// A bzImage of two setup sectors with the payload a little into the third.
    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 3 * SECTOR + 64];
        image[SETUP_SECTS] = 2;
        image[HEADER_MAGIC..][..4].copy_from_slice(b"HdrS");
        image[BOOT_VERSION..][..2].copy_from_slice(&0x020f_u16.to_le_bytes());
        image[PAYLOAD_OFFSET..][..4].copy_from_slice(&64_u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap();
        image[PAYLOAD_LENGTH..][..4].copy_from_slice(&length.to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(&[0xcc; 100]);
        image
    }

    #[test]
    fn every_compression_comes_back() {
        for format in ALL {
            let mut payload = compress(format, &elf());
            if format != Compression::Gzip {
                payload.extend_from_slice(&u32::try_from(elf().len()).unwrap().to_le_bytes());
            }
            let got = elf_from_bzimage(&bzimage(&payload)).unwrap();
            assert!(got == elf(), "{format:?}");
        }
    }

    #[test]
    fn an_elf_passes_through() {
        assert!(elf_from_bzimage(&elf()).unwrap() == elf());
    }

    #[test]
    fn other_files_are_refused() {
        assert!(matches!(elf_from_bzimage(b"#!/bin/sh"), Err(KernelError::NotAKernel(_))));
        assert!(matches!(elf_from_bzimage(b""), Err(KernelError::NotAKernel(_))));
        let odd = bzimage(b"BZh9 something");
        assert!(matches!(elf_from_bzimage(&odd), Err(KernelError::UnknownCompression(_))));
        let text = compress(Compression::Gzip, b"no kernel");
        assert!(matches!(elf_from_bzimage(&bzimage(&text)), Err(KernelError::PayloadNotElf)));
    }

    #[test]
    fn damage_is_told_apart() {
        let whole = bzimage(&compress(Compression::Xz, &elf()));
        assert!(matches!(elf_from_bzimage(&whole[..2000]), Err(KernelError::Truncated)));
        assert!(matches!(elf_from_bzimage(&whole[..0x240]), Err(KernelError::Truncated)));
        let mut old = whole.clone();
        old[BOOT_VERSION] = 0x07;
        assert!(matches!(elf_from_bzimage(&old), Err(KernelError::TooOld(0x0207))));
        let mut bad = whole;
        bad[3 * SECTOR + 64 + 200] ^= 0xff;
        assert!(matches!(elf_from_bzimage(&bad), Err(KernelError::Decompress { .. })));
    }

    #[test]
    fn a_users_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = camino::Utf8PathBuf::from_path_buf(dir.path().join("kernel")).unwrap();
        fs::write(&path, "text").unwrap();
        let error = read_kernel(&path).unwrap_err();
        assert!(error.to_string().contains(path.as_str()), "{error}");
        assert!(error.hint().is_some());
        assert!(matches!(read_kernel(&path.join("none")), Err(KernelError::Read(_))));
    }
}
