//! What an executable or library asks of the system that runs it.

use camino::{Utf8Path, Utf8PathBuf};
use object::LittleEndian as Le;
use object::elf;

use crate::program::dynamic::Dynamic;
use crate::program::error::ProgramError;
use crate::program::tables::Tables;
use crate::program::version::GlibcVersion;

/// The demands of one x86_64 ELF file. Reading it costs a few kilobytes, whatever its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// The loader that the kernel starts for it; a static program has none.
    pub interpreter: Option<String>,
    /// The libraries that it names, in its order: file names, or rarely paths.
    pub needed: Vec<String>,
    /// Where to search for libraries first, those of its libraries too; empty where there is a
    /// `runpath`, which has loaders ignore it.
    pub rpath: Vec<Utf8PathBuf>,
    /// Where to search for its own libraries, after `LD_LIBRARY_PATH`.
    pub runpath: Vec<Utf8PathBuf>,
    /// The newest glibc whose symbols it uses, if it uses any.
    pub glibc: Option<GlibcVersion>,
}

impl Elf {
    /// Reads the file's headers.
    ///
    /// `$ORIGIN` becomes the directory of `path`, as it is given: symbolic links have to be
    /// followed before for a program, and left alone for a library.
    ///
    /// # Errors
    /// Where the file cannot be read, is not a linked x86_64 ELF file, or is damaged.
    pub fn read(path: &Utf8Path) -> Result<Self, ProgramError> {
        let tables = Tables::read(path)?;
        let interpreter = tables.interpreter()?;
        let (needed, rpath, runpath, glibc) = (Vec::new(), Vec::new(), Vec::new(), None);
        let mut elf = Self { interpreter, needed, rpath, runpath, glibc };
        if let Some(dynamic) = Dynamic::read(&tables)? {
            elf.take(path, &dynamic)
                .ok_or_else(|| tables.malformed("a name is not in the file"))?;
            elf.glibc = newest_glibc(&tables, &dynamic)?;
        }
        Ok(elf)
    }

    fn take(&mut self, path: &Utf8Path, dynamic: &Dynamic) -> Option<()> {
        let origin = path.parent().filter(|parent| !parent.as_str().is_empty());
        let origin = origin.unwrap_or(Utf8Path::new("."));
        let directories = |tag| {
            let lists = dynamic.names(tag)?;
            let all = lists.iter().flat_map(|list| directories(list, origin));
            Some(all.collect::<Vec<_>>())
        };
        self.needed = dynamic.names(elf::DT_NEEDED)?;
        self.runpath = directories(elf::DT_RUNPATH)?;
        if dynamic.value(elf::DT_RUNPATH).is_none() {
            self.rpath = directories(elf::DT_RPATH)?;
        }
        Some(())
    }
}

/// The directories of a search path. Empty ones are left out: they stand for the current
/// directory, which will be another in the guest.
fn directories(list: &str, origin: &Utf8Path) -> impl Iterator<Item = Utf8PathBuf> {
    let given = list.split(':').filter(|directory| !directory.is_empty());
    given.map(move |directory| {
        let directory = directory.replace("${ORIGIN}", origin.as_str());
        directory.replace("$ORIGIN", origin.as_str()).into()
    })
}

fn newest_glibc(tables: &Tables, dynamic: &Dynamic) -> Result<Option<GlibcVersion>, ProgramError> {
    let names = symbol_versions(tables, dynamic)?;
    Ok(names.iter().filter_map(|name| GlibcVersion::of_symbol_version(name)).max())
}

/// The names of all symbol versions that the file needs of its libraries.
fn symbol_versions(tables: &Tables, dynamic: &Dynamic) -> Result<Vec<String>, ProgramError> {
    let mut names = Vec::new();
    let Some(address) = dynamic.value(elf::DT_VERNEED) else { return Ok(names) };
    let mut offset = tables.offset_of(address)?;
    for _ in 0..dynamic.value(elf::DT_VERNEEDNUM).unwrap_or_default() {
        let library: elf::Verneed<Le> = record(tables, offset)?;
        let mut version_offset = offset + u64::from(library.vn_aux.get(Le));
        for _ in 0..library.vn_cnt.get(Le) {
            let version: elf::Vernaux<Le> = record(tables, version_offset)?;
            let name = dynamic.string(version.vna_name.get(Le).into());
            names.push(name.ok_or_else(|| tables.malformed("a version has no name"))?);
            version_offset += u64::from(version.vna_next.get(Le));
        }
        match library.vn_next.get(Le) {
            0 => break,
            next => offset += u64::from(next),
        }
    }
    Ok(names)
}

fn record<T: object::pod::Pod>(tables: &Tables, offset: u64) -> Result<T, ProgramError> {
    let records = tables.records(offset, 1)?;
    Ok(*records.first().expect("one record was asked for, and fewer are an error"))
}
