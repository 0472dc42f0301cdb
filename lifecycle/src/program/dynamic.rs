//! The dynamic table of an ELF file, which tells the loader what to load and from where.
//!
//! Reads the table and its strings, and edits it as a value; writing it back is the work of
//! `adapt`.

use object::LittleEndian as Le;
use object::elf;
use object::endian::{I64, U64};

use crate::program::error::ProgramError;
use crate::program::tables::{Entry, Tables, string_at};

/// A dynamic table together with its strings.
pub(super) struct Dynamic {
    /// Where the file has the table.
    pub(super) offset: u64,
    /// The entries before the one that ends the table.
    pub(super) entries: Vec<Entry>,
    /// How many entries the table has room for, with the one that ends it.
    pub(super) capacity: usize,
    /// The table of all names.
    pub(super) strings: Vec<u8>,
}

impl Dynamic {
    /// Reads the table; a program that loads no libraries may have none.
    pub(super) fn read(tables: &Tables) -> Result<Option<Self>, ProgramError> {
        let Some(segment) = tables.segment(elf::PT_DYNAMIC) else { return Ok(None) };
        let offset = segment.p_offset.get(Le);
        let capacity = segment.p_filesz.get(Le) / size_of::<Entry>() as u64;
        let mut entries: Vec<Entry> = tables.records(offset, capacity)?;
        let capacity = entries.len();
        let end = entries.iter().position(|entry| entry.d_tag.get(Le) == elf::DT_NULL);
        entries.truncate(end.ok_or_else(|| tables.malformed("its dynamic table has no end"))?);
        let mut dynamic = Self { offset, entries, capacity, strings: Vec::new() };
        if let Some(address) = dynamic.value(elf::DT_STRTAB) {
            let size = dynamic.value(elf::DT_STRSZ).unwrap_or_default();
            dynamic.strings = tables.bytes(tables.offset_of(address)?, size)?;
        }
        Ok(Some(dynamic))
    }

    /// The value of the first entry with that tag.
    pub(super) fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.values(tag).next()
    }

    /// The name that an offset into the strings stands for.
    pub(super) fn string(&self, offset: u64) -> Option<String> {
        string_at(&self.strings, offset)
    }

    /// The names of all entries with that tag.
    pub(super) fn names(&self, tag: elf::DynamicTag) -> Option<Vec<String>> {
        self.values(tag).map(|offset| self.string(offset)).collect()
    }

    /// Changes or adds an entry.
    pub(super) fn set(&mut self, tag: elf::DynamicTag, value: u64) {
        match self.entries.iter_mut().find(|entry| entry.d_tag.get(Le) == tag) {
            Some(entry) => entry.d_val.set(Le, value),
            None => self.entries.push(entry(tag, value)),
        }
    }

    /// Takes out what says where to search, and returns the directories it named.
    pub(super) fn take_search_path(&mut self) -> Vec<String> {
        let own = [elf::DT_RUNPATH, elf::DT_RPATH].into_iter().find_map(|tag| self.value(tag));
        let own = own.and_then(|offset| self.string(offset)).unwrap_or_default();
        self.entries
            .retain(|entry| !matches!(entry.d_tag.get(Le), elf::DT_RPATH | elf::DT_RUNPATH));
        own.split(':').filter(|directory| !directory.is_empty()).map(str::to_owned).collect()
    }

    /// Has libraries that are needed by path searched for by their file names, like all others;
    /// returns whether there are any.
    pub(super) fn need_by_name(&mut self) -> bool {
        let mut changed = false;
        for index in 0..self.entries.len() {
            let entry = &self.entries[index];
            let offset = entry.d_val.get(Le);
            let needed = entry.d_tag.get(Le) == elf::DT_NEEDED;
            let name = self.string(offset).filter(|_| needed).unwrap_or_default();
            if let Some(slash) = name.rfind('/') {
                // The file name is the end of the path, so that no other string has to be made.
                self.entries[index].d_val.set(Le, offset + slash as u64 + 1);
                changed = true;
            }
        }
        changed
    }

    /// The whole table, as long as it was; `None` where it has become too long for that.
    ///
    /// Linkers other than GNU's leave no spare entries. One of those that change nothing of what
    /// the program does is given up then.
    pub(super) fn into_table(mut self) -> Option<Vec<Entry>> {
        if self.entries.len() >= self.capacity {
            let spare = self.spare()?;
            self.entries.remove(spare);
        }
        if self.entries.len() >= self.capacity {
            return None;
        }
        self.entries.resize(self.capacity, entry(elf::DT_NULL, 0));
        Some(self.entries)
    }

    fn values(&self, tag: elf::DynamicTag) -> impl Iterator<Item = u64> {
        let tagged = self.entries.iter().filter(move |entry| entry.d_tag.get(Le) == tag);
        tagged.map(|entry| entry.d_val.get(Le))
    }

    /// An entry that the program can do without: flags that another entry repeats, or a count that
    /// only speeds up loading, or the debugger's way to the list of libraries.
    fn spare(&self) -> Option<usize> {
        let position = |tag| self.entries.iter().position(|entry| entry.d_tag.get(Le) == tag);
        let flags = position(elf::DT_FLAGS_1).filter(|_| self.flags_are_repeated());
        flags.or_else(|| position(elf::DT_RELACOUNT)).or_else(|| position(elf::DT_DEBUG))
    }

    fn flags_are_repeated(&self) -> bool {
        let now = elf::DF_1_NOW.0;
        let known = now | elf::DF_1_PIE.0;
        let flags = self.value(elf::DT_FLAGS_1).unwrap_or_default();
        let binds_now = self.value(elf::DT_FLAGS).unwrap_or_default() & elf::DF_BIND_NOW.0;
        flags & !known == 0 && (flags & now == 0 || binds_now != 0)
    }
}

fn entry(tag: elf::DynamicTag, value: u64) -> Entry {
    Entry { d_tag: I64::new(Le, tag), d_val: U64::new(Le, value) }
}
