//! The raw tables of one ELF file: its header, its program headers, and what those lead to.
//!
//! Reads only the few kilobytes asked for, however large the file; everything goes by program
//! headers, as in the kernel and the loader, so that stripped files are no special case. What the
//! entries mean is for the neighbours to say.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use fs_err::os::unix::fs::FileExt;
use object::LittleEndian as Le;
use object::elf;
use object::pod::{self, Pod};

use crate::input_file::{self, Links};
use crate::program::error::ProgramError;

/// The header that the file starts with.
pub(super) type Header = elf::FileHeader64<Le>;
/// A program header: one range of the file, and what it is.
pub(super) type Segment = elf::ProgramHeader64<Le>;
/// A section header, for debuggers and the like.
pub(super) type Section = elf::SectionHeader64<Le>;
/// One entry of the dynamic table.
pub(super) type Entry = elf::Dyn64<Le>;

/// An open x86_64 ELF file whose headers have been read.
pub(super) struct Tables {
    path: Utf8PathBuf,
    file: fs::File,
    /// The file's length in bytes.
    pub(super) length: u64,
    /// The file's header.
    pub(super) header: Header,
    /// The program headers, in the file's order.
    pub(super) segments: Vec<Segment>,
}

impl Tables {
    /// Opens an executable or a library and reads its headers.
    ///
    /// # Errors
    /// Where the file cannot be read, is not a linked x86_64 ELF file, or is cut short.
    pub(super) fn read(path: &Utf8Path) -> Result<Self, ProgramError> {
        let unreadable = |source| ProgramError::Unreadable { path: path.to_owned(), source };
        let file = input_file::open(path.as_std_path(), Links::Follow).map_err(unreadable)?;
        let file = fs::File::from_parts(file, path);
        let length = file.metadata().map_err(unreadable)?.len();
        let mut start = [0; size_of::<Header>()];
        let filled = fill(&file, &mut start).map_err(unreadable)?;
        let header = header(path, &start[..filled])?;
        let mut tables = Self { path: path.to_owned(), file, length, header, segments: Vec::new() };
        tables.segments = tables.records(header.e_phoff.get(Le), header.e_phnum.get(Le).into())?;
        tables.check_whole()?;
        Ok(tables)
    }

    /// The file's path, as it was given.
    pub(super) fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// The first segment of that kind.
    pub(super) fn segment(&self, kind: elf::ProgramType) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.p_type.get(Le) == kind)
    }

    /// The loader that the file asks for.
    pub(super) fn interpreter(&self) -> Result<Option<String>, ProgramError> {
        let Some(segment) = self.segment(elf::PT_INTERP) else { return Ok(None) };
        let bytes = self.bytes(segment.p_offset.get(Le), segment.p_filesz.get(Le))?;
        string_at(&bytes, 0).map(Some).ok_or_else(|| self.malformed("it names no loader"))
    }

    /// The section headers, if the file has any.
    pub(super) fn sections(&self) -> Result<Vec<Section>, ProgramError> {
        self.records(self.header.e_shoff.get(Le), self.header.e_shnum.get(Le).into())
    }

    /// Reads `count` records that stand one after another from `offset` of the file on.
    pub(super) fn records<T: Pod>(&self, offset: u64, count: u64) -> Result<Vec<T>, ProgramError> {
        let size = count.saturating_mul(size_of::<T>() as u64);
        let bytes = self.bytes(offset, size)?;
        let records = pod::slice_from_all_bytes(&bytes);
        Ok(records
            .expect("the records are as many as the bytes make, and need no alignment")
            .to_vec())
    }

    /// Reads a range of the file.
    pub(super) fn bytes(&self, offset: u64, size: u64) -> Result<Vec<u8>, ProgramError> {
        self.check_range(offset, size)?;
        let size = usize::try_from(size).map_err(|_| self.malformed("a table has no end"))?;
        let mut bytes = vec![0; size];
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|source| ProgramError::Unreadable { path: self.path.clone(), source })?;
        Ok(bytes)
    }

    /// Where the file has what the loader puts at `address`.
    pub(super) fn offset_of(&self, address: u64) -> Result<u64, ProgramError> {
        let within = |segment: &&Segment| {
            let start = segment.p_vaddr.get(Le);
            segment.p_type.get(Le) == elf::PT_LOAD
                && (start..start.saturating_add(segment.p_filesz.get(Le))).contains(&address)
        };
        let segment = self.segments.iter().find(within);
        let segment = segment.ok_or_else(|| self.malformed("a table is not in the file"))?;
        let offset = segment.p_offset.get(Le) + (address - segment.p_vaddr.get(Le));
        Ok(offset)
    }

    /// The error of a file that contradicts itself.
    pub(super) fn malformed(&self, what: &'static str) -> ProgramError {
        ProgramError::Malformed { path: self.path.clone(), what }
    }

    /// Linkers write the section headers last, so that these tell a file that lost its end.
    fn check_whole(&self) -> Result<(), ProgramError> {
        for segment in &self.segments {
            self.check_range(segment.p_offset.get(Le), segment.p_filesz.get(Le))?;
        }
        let sections = u64::from(self.header.e_shnum.get(Le)) * size_of::<Section>() as u64;
        self.check_range(self.header.e_shoff.get(Le), sections)
    }

    fn check_range(&self, offset: u64, size: u64) -> Result<(), ProgramError> {
        match offset.checked_add(size) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(self.malformed("it ends too early")),
        }
    }
}

/// The text from `offset` up to the next NUL.
pub(super) fn string_at(bytes: &[u8], offset: u64) -> Option<String> {
    let rest = bytes.get(usize::try_from(offset).ok()?..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    String::from_utf8(rest[..end].to_vec()).ok()
}

/// Reads as much of the file's start as there is.
fn fill(file: &fs::File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], filled as u64)? {
            0 => break,
            more => filled += more,
        }
    }
    Ok(filled)
}

fn header(path: &Utf8Path, start: &[u8]) -> Result<Header, ProgramError> {
    let path = path.to_owned();
    if !start.starts_with(&elf::ELFMAG) {
        return Err(ProgramError::NotElf { path });
    }
    let Ok((header, _)) = pod::from_bytes::<Header>(start) else {
        return Err(ProgramError::Malformed { path, what: "it ends within its header" });
    };
    if let Some(found) = other_architecture(header) {
        return Err(ProgramError::WrongArchitecture { path, found });
    }
    let linked = matches!(header.e_type.get(Le), elf::ET_EXEC | elf::ET_DYN);
    if !linked || usize::from(header.e_phentsize.get(Le)) != size_of::<Segment>() {
        return Err(ProgramError::Malformed { path, what: "it is no linked program or library" });
    }
    Ok(*header)
}

/// What the file is built for, unless that is x86_64.
fn other_architecture(header: &Header) -> Option<String> {
    let big = header.e_ident.data == elf::ELFDATA2MSB;
    let machine = header.e_machine.get(Le);
    let machine = if big { elf::Machine(machine.0.swap_bytes()) } else { machine };
    let wide = header.e_ident.class == elf::ELFCLASS64;
    let name = match machine {
        elf::EM_X86_64 if wide && !big => return None,
        elf::EM_X86_64 => "x32",
        elf::EM_386 => "x86 (32 bit)",
        elf::EM_AARCH64 => "aarch64",
        elf::EM_ARM => "arm",
        elf::EM_RISCV if wide => "riscv64",
        elf::EM_RISCV => "riscv32",
        elf::EM_PPC64 if big => "powerpc64",
        elf::EM_PPC64 => "powerpc64le",
        elf::EM_S390 => "s390x",
        elf::EM_LOONGARCH => "loongarch64",
        elf::EM_MIPS => "mips",
        elf::EM_BPF => "bpf",
        other => return Some(format!("machine number {}", other.0)),
    };
    Some(name.to_owned())
}
