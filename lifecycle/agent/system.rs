//! The system calls that the agent needs, and what a compiler expects of a C library.

use core::arch::asm;

/// An error's number, as Linux gives it.
pub type Errno = usize;

/// What is asked for is not known, or not as it should be (EINVAL).
pub const INVALID: Errno = 22;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const IOCTL: usize = 16;
    pub const NANOSLEEP: usize = 35;
    pub const SOCKET: usize = 41;
    pub const ACCEPT: usize = 43;
    pub const BIND: usize = 49;
    pub const LISTEN: usize = 50;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const EXIT: usize = 60;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const SYNC: usize = 162;
    pub const MOUNT: usize = 165;
    pub const SETHOSTNAME: usize = 170;
    pub const CLOCK_SETTIME: usize = 227;
    pub const OPENAT: usize = 257;
    pub const MKDIRAT: usize = 258;
    pub const UNLINKAT: usize = 263;
    pub const SYMLINKAT: usize = 266;
    pub const DUP3: usize = 292;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const DUP3: usize = 24;
    pub const IOCTL: usize = 29;
    pub const MKDIRAT: usize = 34;
    pub const UNLINKAT: usize = 35;
    pub const SYMLINKAT: usize = 36;
    pub const MOUNT: usize = 40;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const SYNC: usize = 81;
    pub const EXIT: usize = 93;
    pub const NANOSLEEP: usize = 101;
    pub const CLOCK_SETTIME: usize = 112;
    pub const KILL: usize = 129;
    pub const SETHOSTNAME: usize = 161;
    pub const SOCKET: usize = 198;
    pub const BIND: usize = 200;
    pub const LISTEN: usize = 201;
    pub const ACCEPT: usize = 202;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const WAIT4: usize = 260;
}

/// Relative to the working directory, for calls that take a directory.
const AT_FDCWD: usize = -100_isize as usize;
const CLOEXEC: usize = 0o2_000_000;

pub const READ_ONLY: usize = CLOEXEC;
pub const WRITE_OR_MAKE: usize = 0o1 | 0o100 | CLOEXEC;
pub const WRITE_NEW: usize = 0o1 | 0o100 | 0o1000 | CLOEXEC;

/// A text that ends with a zero byte, for the kernel.
pub struct Path {
    bytes: [u8; 4096],
}

impl Path {
    /// `None` where it is longer than a path may be.
    pub fn new(parts: &[&[u8]]) -> Option<Self> {
        let mut bytes = [0; 4096];
        let mut end = 0;
        for part in parts {
            bytes.get_mut(end..end + part.len())?.copy_from_slice(part);
            end += part.len();
        }
        (end < bytes.len()).then_some(Self { bytes })
    }

    fn address(&self) -> usize {
        self.bytes.as_ptr() as usize
    }
}

/// An open file, closed when dropped.
pub struct File(usize);

impl File {
    pub fn open(path: &Path, flags: usize, mode: usize) -> Result<Self, Errno> {
        call(number::OPENAT, [AT_FDCWD, path.address(), flags, mode, 0]).map(Self)
    }

    /// A socket, to speak to a network device through.
    pub fn socket() -> Result<Self, Errno> {
        const INET: usize = 2;
        const DATAGRAM: usize = 2;
        call(number::SOCKET, [INET, DATAGRAM | CLOEXEC, 0, 0, 0]).map(Self)
    }

    /// A socket that listens on a vsock port.
    pub fn vsock(port: u32) -> Result<Self, Errno> {
        const VSOCK: usize = 40;
        const STREAM: usize = 1;
        const ANY_CID: u32 = u32::MAX;
        const BACKLOG: usize = 128;
        let socket = call(number::SOCKET, [VSOCK, STREAM | CLOEXEC, 0, 0, 0]).map(Self)?;
        // `struct sockaddr_vm`: the family in two bytes, two reserved, port, CID, flags and zeros.
        let address = [VSOCK as u32, port, ANY_CID, 0];
        let length = size_of_val(&address);
        call(number::BIND, [socket.0, address.as_ptr() as usize, length, 0, 0])?;
        call(number::LISTEN, [socket.0, BACKLOG, 0, 0, 0])?;
        Ok(socket)
    }

    /// The next connection to a socket that listens.
    pub fn accept(&self) -> Result<Self, Errno> {
        call(number::ACCEPT, [self.0, 0, 0, 0, 0]).map(Self)
    }

    /// Has standard input and output lead here.
    pub fn become_standard_streams(&self) -> Result<(), Errno> {
        for stream in 0..=1 {
            call(number::DUP3, [self.0, stream, 0, 0, 0])?;
        }
        Ok(())
    }

    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        read(self.0, buffer)
    }

    pub fn write_all(&self, bytes: &[u8]) -> bool {
        write_all(self.0, bytes)
    }

    pub fn ioctl(&self, request: usize, argument: usize) -> Result<usize, Errno> {
        ioctl(self.0, request, argument)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = call(number::CLOSE, [self.0, 0, 0, 0, 0]);
    }
}

pub fn read(fd: usize, buffer: &mut [u8]) -> Result<usize, Errno> {
    call(number::READ, [fd, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0])
}

/// Whether all was written.
pub fn write_all(fd: usize, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match call(number::WRITE, [fd, bytes.as_ptr() as usize, bytes.len(), 0, 0]) {
            Ok(written) if written > 0 => bytes = &bytes[written..],
            _ => return false,
        }
    }
    true
}

pub fn ioctl(fd: usize, request: usize, argument: usize) -> Result<usize, Errno> {
    call(number::IOCTL, [fd, request, argument, 0, 0])
}

pub fn mkdir(path: &Path, mode: usize) -> Result<usize, Errno> {
    call(number::MKDIRAT, [AT_FDCWD, path.address(), mode, 0, 0])
}

pub fn unlink(path: &Path) -> Result<usize, Errno> {
    call(number::UNLINKAT, [AT_FDCWD, path.address(), 0, 0, 0])
}

pub fn symlink(target: &Path, path: &Path) -> Result<usize, Errno> {
    call(number::SYMLINKAT, [target.address(), AT_FDCWD, path.address(), 0, 0])
}

pub fn mount(
    source: &Path,
    target: &Path,
    filesystem: &Path,
    flags: usize,
    data: &Path,
) -> Result<usize, Errno> {
    let addresses = [source.address(), target.address(), filesystem.address()];
    call(number::MOUNT, [addresses[0], addresses[1], addresses[2], flags, data.address()])
}

pub fn set_hostname(name: &[u8]) -> Result<usize, Errno> {
    call(number::SETHOSTNAME, [name.as_ptr() as usize, name.len(), 0, 0, 0])
}

/// Sets the wall clock.
pub fn set_clock(seconds: u64, nanoseconds: u64) -> Result<usize, Errno> {
    const REALTIME: usize = 0;
    let time = [seconds, nanoseconds];
    call(number::CLOCK_SETTIME, [REALTIME, time.as_ptr() as usize, 0, 0, 0])
}

pub fn sleep_ms(ms: u64) {
    let time = [ms / 1000, ms % 1000 * 1_000_000];
    let _ = call(number::NANOSLEEP, [time.as_ptr() as usize, 0, 0, 0, 0]);
}

/// Sends a signal to a process.
pub fn kill(process: u64, signal: u64) -> Result<usize, Errno> {
    call(number::KILL, [process as usize, signal as usize, 0, 0, 0])
}

/// Starts a process that goes on from here as this one does; 0 in the new one.
pub fn fork() -> Result<usize, Errno> {
    const SIGCHLD: usize = 17;
    call(number::CLONE, [SIGCHLD, 0, 0, 0, 0])
}

/// Waits for a child's end.
pub fn wait(child: usize) -> Result<(), Errno> {
    call(number::WAIT4, [child, 0, 0, 0, 0]).map(drop)
}

/// Becomes a program, whose path and arguments these are; returns only if that fails.
pub fn become_program(words: &[&[u8]]) -> Result<(), Errno> {
    const WORDS: usize = 8;
    let mut space = [0; 1024];
    let (mut end, mut addresses) = (0, [0; WORDS + 1]);
    for (word, address) in words.iter().zip(&mut addresses[..WORDS]) {
        // Each ends with a zero byte.
        space.get_mut(end..end + word.len()).ok_or(INVALID)?.copy_from_slice(word);
        *address = space.as_ptr() as usize + end;
        end += word.len() + 1;
    }
    let environment = [c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".as_ptr() as usize, 0];
    let (argv, environment) = (addresses.as_ptr() as usize, environment.as_ptr() as usize);
    call(number::EXECVE, [addresses[0], argv, environment, 0, 0]).map(drop)
}

/// Runs a program to its end, with its name and these arguments; returns its wait status.
pub fn run(program: &Path, arguments: &[&Path; 2]) -> Result<i32, Errno> {
    const FAILED: usize = 127;
    let argv = [program.address(), arguments[0].address(), arguments[1].address(), 0];
    let environment = [c"PATH=/usr/sbin:/usr/bin:/sbin:/bin".as_ptr() as usize, 0];
    let child = fork()?;
    if child == 0 {
        let (argv, environment) = (argv.as_ptr() as usize, environment.as_ptr() as usize);
        let _ = call(number::EXECVE, [program.address(), argv, environment, 0, 0]);
        exit(FAILED);
    }
    let mut status = 0_i32;
    call(number::WAIT4, [child, (&raw mut status) as usize, 0, 0, 0])?;
    Ok(status)
}

pub fn sync() {
    let _ = call(number::SYNC, [0; 5]);
}

pub fn exit(status: usize) -> ! {
    loop {
        let _ = call(number::EXIT, [status, 0, 0, 0, 0]);
    }
}

/// Calls the kernel; numbers from -4095 to -1 are errors.
fn call(number: usize, arguments: [usize; 5]) -> Result<usize, Errno> {
    let [a, b, c, d, e] = arguments;
    let result: usize;
    // SAFETY: every caller passes numbers and addresses of live memory that the call expects, and
    // the registers that the kernel changes are named.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            in("r10") d, in("r8") e, out("rcx") _, out("r11") _, options(nostack));
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c,
            in("x3") d, in("x4") e, options(nostack));
    }
    if result > -4096_isize as usize { Err(result.wrapping_neg()) } else { Ok(result) }
}

/// Copies bytes, for the compiler's own calls.
///
/// # Safety
/// As C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    let mut at = 0;
    while at < count {
        // SAFETY: the caller vouches for `count` bytes at both. Volatile, or the compiler would
        // make of this loop a call to this function.
        unsafe { to.add(at).write_volatile(from.add(at).read()) };
        at += 1;
    }
    to
}

/// Copies bytes between places that may overlap.
///
/// # Safety
/// As C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if (to as usize) <= (from as usize) {
        // SAFETY: copying forwards reads each byte before it is written over.
        return unsafe { memcpy(to, from, count) };
    }
    for at in (0..count).rev() {
        // SAFETY: the caller vouches for `count` bytes at both.
        unsafe { to.add(at).write_volatile(from.add(at).read()) };
    }
    to
}

/// Fills bytes.
///
/// # Safety
/// As C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    for at in 0..count {
        // SAFETY: the caller vouches for `count` bytes.
        unsafe { to.add(at).write_volatile(byte as u8) };
    }
    to
}

/// Compares bytes.
///
/// # Safety
/// As C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    for at in 0..count {
        // SAFETY: the caller vouches for `count` bytes at both.
        let (one, other) = unsafe { (one.add(at).read_volatile(), other.add(at).read_volatile()) };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
    }
    0
}

/// The same under the name that compilers use where only equality counts.
///
/// # Safety
/// As C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    // SAFETY: the caller vouches for `count` bytes at both.
    unsafe { memcmp(one, other, count) }
}

/// Named by the core library, which was built to unwind; nothing here does.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
