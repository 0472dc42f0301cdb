//! Copies of files in which some bytes are others.

use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};

use camino::Utf8Path;
use fs_err as fs;
use tempfile::NamedTempFile;

use crate::program::error::ProgramError;

/// Bytes that take the place of those at an offset, or extend the file.
pub(super) struct Patch {
    /// Where in the file.
    pub(super) offset: u64,
    /// What stands there in the copy.
    pub(super) bytes: Vec<u8>,
}

/// Writes a patched copy with the same permissions. It appears under its name when it is whole,
/// and replaces what was there.
pub(super) fn copy_patched(
    path: &Utf8Path,
    out: &Utf8Path,
    patches: &[Patch],
) -> Result<(), ProgramError> {
    copy(path, out, patches).map_err(|source| {
        let (path, out) = (path.to_owned(), out.to_owned());
        ProgramError::Copy { path, out, source }
    })
}

fn copy(path: &Utf8Path, out: &Utf8Path, patches: &[Patch]) -> io::Result<()> {
    let source = fs::File::open(path)?;
    let directory = out.parent().filter(|parent| !parent.as_str().is_empty());
    let copy = NamedTempFile::new_in(directory.unwrap_or(Utf8Path::new(".")))?;
    // Plain files on both sides: the kernel copies, or shares the blocks.
    io::copy(&mut source.file(), &mut copy.as_file())?;
    for patch in patches {
        copy.as_file().write_all_at(&patch.bytes, patch.offset)?;
    }
    let mode = source.metadata()?.permissions().mode() & 0o777;
    copy.as_file().set_permissions(PermissionsExt::from_mode(mode))?;
    copy.persist(out).map(drop).map_err(|error| error.error)
}
