//! Copies of programs that load their libraries from one directory, whatever else the system has.
//!
//! A program says in itself which loader the kernel starts for it (`PT_INTERP`) and where that
//! loader searches first (`DT_RPATH`), so that neither its environment nor its command line has to
//! change, and programs that it starts go on as ever. `DT_RPATH` rather than `DT_RUNPATH`, because
//! only the former counts for the libraries of libraries and before `LD_LIBRARY_PATH`.
//!
//! ```text
//! before   headers | code, data, dynamic table, ... | debug information, section headers
//! after    headers'| code, data, dynamic table',... | debug information, section headers' | new
//!
//! new      path of the loader, all strings of the dynamic table, search path
//! ```
//!
//! Not a byte moves: code, data and debug information stay where they were. What is new stands
//! behind the file's end, and a program header that nothing depends on (a note of processor
//! features or of the build) is given up to have it mapped behind everything else; so the
//! directory may be of any length. Only a program without any note cannot be altered.

use camino::{Utf8Path, Utf8PathBuf};
use object::LittleEndian as Le;
use object::endian::{U32, U64};
use object::{elf, pod};

use crate::program::dynamic::Dynamic;
use crate::program::error::ProgramError;
use crate::program::patch::{Patch, copy_patched};
use crate::program::tables::{Section, Segment, Tables};

/// The size of a page of memory on x86_64.
const PAGE: u64 = 4096;

/// Where the half of the address space ends that programs have.
const ADDRESSES: u64 = 1 << 47;

/// Writes a copy of the program that starts the loader in `library_dir`, an absolute path in the
/// guest, and finds libraries there before anywhere else. Its own search path comes after that.
///
/// The copy has the program's permissions, and replaces `out` when it is whole. Symbol tables and
/// debug information serve as before; a build id may be left to the section headers only.
///
/// # Errors
/// Where the program cannot be read or is static, `library_dir` is not a usable path, the program
/// has no place for the change, or the copy cannot be written.
pub fn adapt(program: &Utf8Path, out: &Utf8Path, library_dir: &str) -> Result<(), ProgramError> {
    if !library_dir.starts_with('/') || library_dir.contains([':', '$', '\0']) {
        return Err(ProgramError::LibraryDirectory { directory: library_dir.to_owned() });
    }
    let tables = Tables::read(program)?;
    let (Some(loader), Some(mut dynamic)) = (tables.interpreter()?, Dynamic::read(&tables)?) else {
        return Err(ProgramError::Static { path: program.to_owned() });
    };
    let loader = Utf8Path::new(library_dir).join(file_name(&loader));
    let mut search_path = dynamic.take_search_path();
    search_path.insert(0, library_dir.to_owned());
    dynamic.need_by_name();
    let addition = Addition::new(&tables, &loader, &dynamic.strings, &search_path.join(":"))?;
    let mut patches = vec![addition.headers(&tables)?, addition.sections(&tables, &dynamic)?];
    addition.enter_into(&mut dynamic);
    patches.push(table(program, dynamic)?);
    patches.push(Patch { offset: addition.offset, bytes: addition.bytes });
    copy_patched(program, out, &patches)
}

/// Copies a library, and takes out where it would have its own libraries searched for: that would
/// keep the loader from searching where the program says.
pub(super) fn copy_library(library: &Utf8Path, out: &Utf8Path) -> Result<(), ProgramError> {
    let tables = Tables::read(library)?;
    let mut patches = Vec::new();
    if let Some(mut dynamic) = Dynamic::read(&tables)? {
        let entries = dynamic.entries.len();
        dynamic.take_search_path();
        if dynamic.need_by_name() || dynamic.entries.len() < entries {
            patches.push(table(library, dynamic)?);
        }
    }
    copy_patched(library, out, &patches)
}

/// What is added behind a program's end, and where that goes in the file and in memory.
struct Addition {
    offset: u64,
    address: u64,
    loader_size: u64,
    strings_size: u64,
    /// Where the search path begins among the strings.
    search_path: u64,
    bytes: Vec<u8>,
}

impl Addition {
    fn new(
        tables: &Tables,
        loader: &Utf8Path,
        strings: &[u8],
        search_path: &str,
    ) -> Result<Self, ProgramError> {
        let offset = tables.length.next_multiple_of(16);
        let mut bytes = [loader.as_str().as_bytes(), b"\0"].concat();
        let loader_size = bytes.len() as u64;
        bytes.extend_from_slice(strings);
        bytes.extend_from_slice(search_path.as_bytes());
        bytes.push(0);
        Ok(Self {
            offset,
            address: end_in_memory(tables)?.next_multiple_of(PAGE) + offset % PAGE,
            loader_size,
            strings_size: bytes.len() as u64 - loader_size,
            search_path: strings.len() as u64,
            bytes,
        })
    }

    fn strings_address(&self) -> u64 {
        self.address + self.loader_size
    }

    fn enter_into(&self, dynamic: &mut Dynamic) {
        dynamic.set(elf::DT_STRTAB, self.strings_address());
        dynamic.set(elf::DT_STRSZ, self.strings_size);
        dynamic.set(elf::DT_RPATH, self.search_path);
    }

    /// The program headers, where one more range is mapped and has the loader's path.
    fn headers(&self, tables: &Tables) -> Result<Patch, ProgramError> {
        let mut segments = tables.segments.clone();
        let path = || tables.path().to_owned();
        let spare = spare(&segments).ok_or_else(|| ProgramError::NoRoom {
            path: path(),
            what: "none of its program headers can be spared",
        })?;
        segments.remove(spare);
        // Mapped ranges stand by address, and this one is the highest.
        let last = segments.iter().rposition(|segment| segment.p_type.get(Le) == elf::PT_LOAD);
        let size = self.bytes.len() as u64;
        let added = self.range(elf::PT_LOAD, size, PAGE);
        segments.insert(last.map_or(0, |last| last + 1), added);
        for segment in &mut segments {
            if segment.p_type.get(Le) == elf::PT_INTERP {
                *segment = self.range(elf::PT_INTERP, self.loader_size, 1);
            }
        }
        let offset = tables.header.e_phoff.get(Le);
        Ok(Patch { offset, bytes: pod::bytes_of_slice(&segments).to_vec() })
    }

    /// A header for the first bytes that are added.
    fn range(&self, kind: elf::ProgramType, size: u64, alignment: u64) -> Segment {
        Segment {
            p_type: U32::new(Le, kind),
            p_flags: U32::new(Le, elf::PF_R),
            p_offset: U64::new(Le, self.offset),
            p_vaddr: U64::new(Le, self.address),
            p_paddr: U64::new(Le, self.address),
            p_filesz: U64::new(Le, size),
            p_memsz: U64::new(Le, size),
            p_align: U64::new(Le, alignment),
        }
    }

    /// The section headers, where debuggers look up the loader and the strings.
    fn sections(&self, tables: &Tables, dynamic: &Dynamic) -> Result<Patch, ProgramError> {
        let mut sections = tables.sections()?;
        let loader = tables.segment(elf::PT_INTERP).map(|segment| segment.p_vaddr.get(Le));
        let strings = dynamic.value(elf::DT_STRTAB);
        for section in sections.iter_mut().filter(|section| section.sh_addr.get(Le) != 0) {
            let address = Some(section.sh_addr.get(Le));
            if address == strings && section.sh_type.get(Le) == elf::SHT_STRTAB {
                self.place(section, self.loader_size, self.strings_size);
            } else if address == loader && section.sh_type.get(Le) == elf::SHT_PROGBITS {
                self.place(section, 0, self.loader_size);
            }
        }
        let offset = tables.header.e_shoff.get(Le);
        Ok(Patch { offset, bytes: pod::bytes_of_slice(&sections).to_vec() })
    }

    fn place(&self, section: &mut Section, within: u64, size: u64) {
        section.sh_offset.set(Le, self.offset + within);
        section.sh_addr.set(Le, self.address + within);
        section.sh_size.set(Le, size);
    }
}

fn table(path: &Utf8Path, dynamic: Dynamic) -> Result<Patch, ProgramError> {
    let offset = dynamic.offset;
    let entries = dynamic.into_table().ok_or_else(|| ProgramError::NoRoom {
        path: path.to_owned(),
        what: "none of its dynamic entries can be spared",
    })?;
    Ok(Patch { offset, bytes: pod::bytes_of_slice(&entries).to_vec() })
}

/// The address behind everything that is mapped.
fn end_in_memory(tables: &Tables) -> Result<u64, ProgramError> {
    let mapped = tables.segments.iter().filter(|segment| segment.p_type.get(Le) == elf::PT_LOAD);
    let ends =
        mapped.map(|segment| segment.p_vaddr.get(Le).saturating_add(segment.p_memsz.get(Le)));
    let end = ends.max().unwrap_or_default();
    if end < ADDRESSES { Ok(end) } else { Err(tables.malformed("its addresses are too high")) }
}

/// A header that the program can do without.
fn spare(segments: &[Segment]) -> Option<usize> {
    let kinds = [elf::PT_NULL, elf::PT_GNU_PROPERTY, elf::PT_NOTE];
    let position = |kind| segments.iter().rposition(|segment| segment.p_type.get(Le) == kind);
    kinds.into_iter().find_map(position)
}

fn file_name(loader: &str) -> Utf8PathBuf {
    Utf8Path::new(loader).file_name().unwrap_or(loader).into()
}
