//! The file in memory in which this process leaves its verdict for who started it.
//!
//! It is mapped at once and its descriptor closed, so that no child inherits it, nothing can be written to
//! it by name, and a test that closes all descriptors, or counts them, does as it would elsewhere. A child
//! that is forked and starts no other program does not have the mapping.

use std::ffi::{c_int, c_void};
use std::fs::{File, Metadata};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, FromRawFd as _, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::ptr;

use banger_protocol::verdict::{FILE, HEAD, Verdict};

/// A mapped file. It lasts as long as the process.
#[derive(Debug)]
pub(crate) struct VerdictFile {
    memory: *mut u8,
    /// Who mapped it.
    process: u32,
}

// SAFETY: the memory is mapped until the process ends, and nobody else in it knows of it.
unsafe impl Send for VerdictFile {}

impl VerdictFile {
    /// Takes the file over, if that is what a descriptor leads to; else leaves the descriptor alone.
    pub(crate) fn take(descriptor: RawFd) -> Option<Self> {
        // SAFETY: it is closed below alone, where it is the file that only who started us can have put there.
        // Where it is not open, looking at it is an error.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(descriptor) });
        if !file.metadata().is_ok_and(|found| is_one(&found)) {
            return None;
        }
        map(&ManuallyDrop::into_inner(file))
            .map(|memory| Self { memory, process: std::process::id() })
    }

    /// Whether this is the process that took it, and no child that goes on where that one was.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    /// Leaves the verdict, in a process of [ours](Self::is_ours).
    pub(crate) fn tell(self, verdict: &Verdict) {
        let text = verdict.to_text();
        let length = u32::try_from(text.len()).expect("a verdict fits into its file").to_le_bytes();
        // SAFETY: FILE bytes are mapped, of which HEAD and a verdict's text are no more; nobody else in this
        // process knows of them. The length is last: without it there is no verdict.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), self.memory.add(HEAD), text.len());
            ptr::write_volatile(self.memory.cast(), length);
        }
    }
}

/// In memory or nowhere any more, and of just that size, is nothing else that a process finds open.
fn is_one(found: &Metadata) -> bool {
    found.is_file() && found.nlink() == 0 && found.size() == FILE as u64
}

fn map(file: &File) -> Option<*mut u8> {
    const READ_AND_WRITE: c_int = 0x1 | 0x2;
    const SHARED: c_int = 0x1;
    const FAILED: usize = usize::MAX;
    const DONTFORK: c_int = 10;
    const PAGE: usize = 4096;
    // SAFETY: a new mapping takes no memory that is in use.
    let memory = unsafe {
        mmap(ptr::null_mut(), FILE, READ_AND_WRITE, SHARED, file.as_raw_fd(), Offset::default())
    };
    if memory.addr() == FAILED {
        return None;
    }
    // SAFETY: the mapping is ours. An error leaves children with a mapping that they do not use.
    unsafe { madvise(memory, FILE, DONTFORK) };
    let memory = memory.cast::<u8>();
    for at in (0..FILE).step_by(PAGE) {
        // So that there is room when the test has used up all memory.
        // SAFETY: it is within the mapping.
        unsafe { ptr::write_volatile(memory.add(at), 0) };
    }
    Some(memory)
}

/// Ends this process, and nothing of it but that: neither are buffers written nor handlers run that it has
/// of its parent.
pub(crate) fn leave(status: u8) -> ! {
    // SAFETY: it asks for nothing.
    unsafe { _exit(status.into()) }
}

/// How the C library counts bytes of files.
#[cfg(any(target_env = "musl", target_pointer_width = "64"))]
type Offset = i64;
#[cfg(not(any(target_env = "musl", target_pointer_width = "64")))]
type Offset = std::ffi::c_long;

// Of the C library that the standard library is linked with.
unsafe extern "C" {
    fn mmap(
        address: *mut c_void,
        length: usize,
        protection: c_int,
        flags: c_int,
        descriptor: c_int,
        offset: Offset,
    ) -> *mut c_void;
    fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::{IntoRawFd as _, OwnedFd};
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// A file without a name, as the guest's agent makes one in memory.
    fn file(length: usize) -> File {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("banger-verdict-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).open(&path).unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test without fs_err")]
        std::fs::remove_file(&path).unwrap();
        file.set_len(length as u64).unwrap();
        file
    }

    fn told(verdict: &Verdict) -> Option<Verdict> {
        let file = file(FILE);
        let given = file.try_clone().unwrap().into_raw_fd();
        let taken = VerdictFile::take(given).unwrap();
        assert!(taken.is_ours());
        // Its number is free again.
        assert!(VerdictFile::take(given).is_none());
        taken.tell(verdict);
        let mut bytes = vec![0; FILE];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let (head, text) = bytes.split_first_chunk::<HEAD>().unwrap();
        Verdict::parse(&text[..u32::from_le_bytes(*head) as usize])
    }

    #[test]
    fn a_verdict_is_left_in_the_file() {
        let longest = Verdict::Panicked("\u{1}ä\"".repeat(FILE));
        let Some(Verdict::Panicked(cut)) = told(&longest) else { panic!("no verdict") };
        assert!(cut.starts_with("\u{1}ä\"\u{1}ä\""), "{cut}");
        for verdict in [Verdict::Returned(3), Verdict::Skipped(String::new())] {
            assert_eq!(told(&verdict), Some(verdict));
        }
    }

    #[test]
    fn what_is_something_else_is_left_alone() {
        let named = std::env::current_exe().unwrap();
        #[expect(clippy::disallowed_methods, reason = "a test without fs_err")]
        let named = File::open(named).unwrap();
        let (_, pipe) = std::io::pipe().unwrap();
        for other in [file(0).into(), file(FILE + 1).into(), named.into(), OwnedFd::from(pipe)] {
            assert!(VerdictFile::take(other.as_raw_fd()).is_none());
            // It is still open.
            let open = File::from(other).metadata();
            assert!(open.is_ok(), "{open:?}");
        }
        let mut written = file(FILE - 1);
        written.write_all(b"x").unwrap();
        assert!(VerdictFile::take(written.as_raw_fd()).is_none());
        assert!(VerdictFile::take(RawFd::MAX).is_none());
    }
}
