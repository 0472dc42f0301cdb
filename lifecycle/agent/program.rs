//! A program as the host asks for it, and becoming it: what a shell does with a simple command, without
//! one, since a shell takes an emulated processor as long to start as a small program.
//!
//! Directory, variables, an empty text, words: each ends with a zero byte.

use core::ffi::CStr;
use core::mem::MaybeUninit;

use crate::system::{self, Errno, File, INVALID, Path, call, number};
use crate::text;

/// How many variables and words there may be.
const MOST: usize = 16 << 10;

const NOT_FOUND: Errno = 2;
const NOT_EXECUTABLE: Errno = 8;
const DENIED: Errno = 13;
const NO_DIRECTORY: Errno = 20;

const SHELL: &CStr = c"/bin/sh";

/// The statuses that shells give to what they cannot start.
pub const CANNOT: usize = 126;
const MISSING: usize = 127;

/// Addresses, as the kernel takes them: a shell's, those of words and those of variables, both ended by
/// a zero.
struct Table {
    addresses: [MaybeUninit<usize>; MOST],
    length: usize,
    variables: usize,
}

impl Table {
    const fn new() -> Self {
        Self { addresses: [const { MaybeUninit::uninit() }; MOST], length: 0, variables: 0 }
    }

    fn fill(&mut self, asked: &Asked<'_>) -> Result<(), Errno> {
        self.push(SHELL.as_ptr() as usize)?;
        self.push_texts(asked.words)?;
        self.variables = self.length;
        self.push_texts(asked.variables)
    }

    fn push_texts(&mut self, texts: &[u8]) -> Result<(), Errno> {
        for text in texts.split_inclusive(|byte| *byte == 0) {
            self.push(text.as_ptr() as usize)?;
        }
        self.push(0)
    }

    fn push(&mut self, address: usize) -> Result<(), Errno> {
        const TOO_LONG: Errno = 7;
        self.addresses.get_mut(self.length).ok_or(TOO_LONG)?.write(address);
        self.length += 1;
        Ok(())
    }

    /// Becomes a program with the words from this one on; returns why it does not.
    fn execute(&self, path: usize, from: usize) -> Errno {
        let address = |at: usize| self.addresses[at..].as_ptr() as usize;
        let arguments = [path, address(from), address(self.variables), 0, 0];
        call(number::EXECVE, arguments).err().unwrap_or(INVALID)
    }
}

/// What is asked for; of variables and words, the bytes with a zero byte after each.
struct Asked<'a> {
    directory: &'a [u8],
    variables: &'a [u8],
    words: &'a [u8],
}

impl<'a> Asked<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let (directory, rest) = (&bytes[..end], &bytes[end + 1..]);
        let mut at = 0;
        // Up to the text that is empty.
        while *rest.get(at)? != 0 {
            at += rest[at..].iter().position(|byte| *byte == 0)? + 1;
        }
        let (variables, words) = (&rest[..at], &rest[at + 1..]);
        (words.last() == Some(&0)).then_some(Self { directory, variables, words })
    }

    /// Its name, or its path.
    fn name(&self) -> &'a [u8] {
        self.words.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The directories in which names are looked for.
    fn search(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut variables = self.variables.split(|byte| *byte == 0);
        let path = variables.find_map(|variable| variable.strip_prefix(b"PATH="));
        path.unwrap_or_default().split(|byte| *byte == b':')
    }
}

/// Becomes the program; where that fails, says why on standard error and returns the status that a
/// shell would give.
pub fn become_it(bytes: &[u8]) -> usize {
    let Some(asked) = Asked::parse(bytes) else { return CANNOT };
    if let Err(error) = enter(asked.directory) {
        complain(asked.directory, error);
        return CANNOT;
    }
    let error = execute(&asked);
    complain(asked.name(), error);
    if matches!(error, NOT_FOUND | NO_DIRECTORY) { MISSING } else { CANNOT }
}

/// Enters a directory, or root's home where none is named.
fn enter(directory: &[u8]) -> Result<(), Errno> {
    if directory.is_empty() {
        // A guest without a home for root is as good a place as any.
        let _ = change_directory(b"/root");
        return Ok(());
    }
    change_directory(directory)
}

fn change_directory(path: &[u8]) -> Result<(), Errno> {
    let path = Path::new(&[path]).ok_or(INVALID)?;
    call(number::CHDIR, [path.address(), 0, 0, 0, 0]).map(drop)
}

/// Becomes the program, looked for where its name is no path; returns why it does not.
fn execute(asked: &Asked<'_>) -> Errno {
    let mut table = Table::new();
    let filled = table.fill(asked);
    let name = asked.name();
    if let Err(error) = filled {
        return error;
    }
    if name.contains(&b'/') {
        return attempt(&[name], &mut table);
    }
    let mut worst = NOT_FOUND;
    for directory in asked.search() {
        // Nothing is where we are.
        let between: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        match attempt(&[directory, between, name], &mut table) {
            NOT_FOUND | NO_DIRECTORY => {}
            error => worst = error,
        }
    }
    worst
}

/// Becomes the program at a path; a script that names no interpreter is the shell's.
fn attempt(path: &[&[u8]], table: &mut Table) -> Errno {
    let Some(path) = Path::new(path) else { return INVALID };
    let error = table.execute(path.address(), 1);
    if error == NOT_EXECUTABLE {
        table.addresses[1].write(path.address());
        return table.execute(SHELL.as_ptr() as usize, 0);
    }
    error
}

/// The outputs of a command for which no process could be made: they say why.
pub fn complaint(error: Errno) -> Result<[Option<File>; 2], Errno> {
    let (output, _) = File::pipe()?;
    let (errors, ours) = File::pipe()?;
    tell(b"no process for a command", error, |part| ours.write_all(part));
    Ok([Some(output), Some(errors)])
}

/// Says on standard error why something cannot be started.
fn complain(what: &[u8], error: Errno) {
    tell(what, error, |part| system::write_all(2, part));
}

fn tell(what: &[u8], error: Errno, write: impl Fn(&[u8]) -> bool) {
    let mut digits = [0; 20];
    let (words, number): (&[u8], &[u8]) = match error {
        NOT_FOUND | NO_DIRECTORY => (b"not found", b""),
        DENIED => (b"permission denied", b""),
        error => (b"error ", text::decimal(error, &mut digits)),
    };
    for part in [b"banger: ", what, b": ", words, number, b"\n"] {
        write(part);
    }
}
