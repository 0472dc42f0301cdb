//! Everything that a program loads from this host, found the way its loader finds it.
//!
//! Nothing is run, so that a program for another system, or a broken one, does no harm. What a
//! program opens by itself while it runs (`dlopen`) is not seen, apart from what glibc opens so.

use std::collections::VecDeque;

use camino::{Utf8Path, Utf8PathBuf};

use crate::program::adapt::copy_library;
use crate::program::elf::Elf;
use crate::program::error::ProgramError;
use crate::program::patch::copy_patched;
use crate::program::search::{is_musl, system_directories};

/// What glibc itself opens by name in ordinary work: for users and host names, and to unwind the
/// stack when a thread is cancelled.
const OPENED_BY_GLIBC: [&str; 4] =
    ["libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1"];

/// Names that musl's loader never searches for, being those libraries itself.
const WITHIN_MUSL: [&str; 7] =
    ["libc.", "libpthread.", "librt.", "libm.", "libdl.", "libutil.", "libxnet."];

/// A library, and where this host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// The name that programs and other libraries know it by.
    pub soname: String,
    /// The file on this host.
    pub path: Utf8PathBuf,
}

/// The loader and all libraries of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closure {
    /// The loader's file on this host; it keeps its file name in the guest.
    pub interpreter: Utf8PathBuf,
    /// The libraries, in the order in which a loader comes upon them.
    pub libraries: Vec<Library>,
}

impl Closure {
    /// Copies the loader and the libraries into a directory, each under its own name. Copies of
    /// libraries do not say where to search for others, so that the program alone decides.
    ///
    /// # Errors
    /// Where a file cannot be read or written, or a library has become a damaged one.
    pub fn copy_to(&self, directory: &Utf8Path) -> Result<(), ProgramError> {
        let name = self.interpreter.file_name().unwrap_or_default();
        copy_patched(&self.interpreter, &directory.join(name), &[])?;
        let mut libraries = self.libraries.iter();
        libraries
            .try_for_each(|library| copy_library(&library.path, &directory.join(&library.soname)))
    }
}

/// Finds the loader and, transitively, all libraries of a program. `library_path` has the
/// directories of the host's `LD_LIBRARY_PATH`.
///
/// # Errors
/// Where the program cannot be read or is static, or this host lacks its loader or a library.
pub fn closure(program: &Utf8Path, library_path: &[Utf8PathBuf]) -> Result<Closure, ProgramError> {
    let unreadable = |source| ProgramError::Unreadable { path: program.to_owned(), source };
    let real = program.canonicalize_utf8().map_err(unreadable)?;
    let elf = Elf::read(&real)?;
    let Some(interpreter) = elf.interpreter.clone().map(Utf8PathBuf::from) else {
        return Err(ProgramError::Static { path: program.to_owned() });
    };
    if !interpreter.is_file() {
        return Err(missing(program, interpreter.as_str()));
    }
    let system = system_directories(&interpreter, Utf8Path::new("/etc"));
    let (libraries, queue) = (Vec::new(), VecDeque::new());
    let mut walk = Walk { program, library_path, interpreter, system, libraries, queue };
    walk.enqueue(elf, &[]);
    walk.finish()?;
    walk.add_what_glibc_opens()?;
    Ok(Closure { interpreter: walk.interpreter, libraries: walk.libraries })
}

/// A breadth-first walk over all libraries, like the loader's: the first file found under a name
/// serves everybody who needs that name.
struct Walk<'a> {
    program: &'a Utf8Path,
    library_path: &'a [Utf8PathBuf],
    interpreter: Utf8PathBuf,
    system: Vec<Utf8PathBuf>,
    libraries: Vec<Library>,
    queue: VecDeque<Object>,
}

/// A program or library whose own needs are still to be looked at.
struct Object {
    elf: Elf,
    /// Its `DT_RPATH`, and then those of whoever had it loaded, up to the program's.
    rpaths: Vec<Utf8PathBuf>,
}

impl Walk<'_> {
    fn enqueue(&mut self, elf: Elf, inherited: &[Utf8PathBuf]) {
        // To musl both are the same.
        let runpath = if is_musl(&self.interpreter) { elf.runpath.as_slice() } else { &[] };
        let rpaths = [&elf.rpath, runpath, inherited].concat();
        self.queue.push_back(Object { elf, rpaths });
    }

    fn finish(&mut self) -> Result<(), ProgramError> {
        while let Some(object) = self.queue.pop_front() {
            for needed in &object.elf.needed {
                let name = file_name(needed);
                if self.has(name) {
                    continue;
                }
                let found = self.find(needed, &object);
                let (path, elf) = found.ok_or_else(|| missing(self.program, needed))?;
                self.add(name, path, elf, &object.rpaths);
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &str, path: Utf8PathBuf, elf: Elf, inherited: &[Utf8PathBuf]) {
        self.libraries.push(Library { soname: name.to_owned(), path });
        self.enqueue(elf, inherited);
    }

    /// Those that lie beside the C library, because only these are sure to fit it.
    fn add_what_glibc_opens(&mut self) -> Result<(), ProgramError> {
        let libc = self.libraries.iter().find(|library| library.soname == "libc.so.6");
        let beside = libc.and_then(|library| library.path.parent()).map(Utf8Path::to_owned);
        for name in OPENED_BY_GLIBC {
            let path = beside.as_ref().map(|directory| directory.join(name));
            if let Some((path, elf)) = path.filter(|_| !self.has(name)).and_then(usable) {
                self.add(name, path, elf, &[]);
            }
        }
        self.finish()
    }

    fn has(&self, name: &str) -> bool {
        self.interpreter.file_name() == Some(name)
            || is_musl(&self.interpreter) && WITHIN_MUSL.iter().any(|own| name.starts_with(own))
            || self.libraries.iter().any(|library| library.soname == name)
    }

    fn find(&self, needed: &str, object: &Object) -> Option<(Utf8PathBuf, Elf)> {
        if needed.contains('/') {
            return usable(needed.into());
        }
        // Who has a DT_RUNPATH does not inherit.
        let runpath = object.elf.runpath.as_slice();
        let rpaths = if runpath.is_empty() || is_musl(&self.interpreter) {
            object.rpaths.as_slice()
        } else {
            &[]
        };
        let order = [rpaths, self.library_path, runpath, &self.system];
        order.into_iter().flatten().find_map(|directory| usable(directory.join(needed)))
    }
}

/// The file, if it is there and made for this kind of machine; loaders pass over others too.
fn usable(path: Utf8PathBuf) -> Option<(Utf8PathBuf, Elf)> {
    let path = camino::absolute_utf8(path).ok()?;
    let elf = Elf::read(&path).ok()?;
    Some((path, elf))
}

fn file_name(needed: &str) -> &str {
    needed.rsplit('/').next().unwrap_or(needed)
}

fn missing(program: &Utf8Path, library: &str) -> ProgramError {
    ProgramError::MissingLibrary { program: program.to_owned(), library: library.to_owned() }
}
