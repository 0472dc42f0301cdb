//! The system calls that the agent needs, but for those of processes.

use core::arch::asm;
use core::ffi::CStr;

/// An error's number, as Linux gives it.
pub type Errno = usize;

/// What is asked for is not known, or not as it should be (EINVAL).
pub const INVALID: Errno = 22;

/// Not now (EAGAIN).
pub const AGAIN: Errno = 11;

/// The other side is gone (ECONNRESET).
pub const GONE: Errno = 104;

#[cfg(target_arch = "x86_64")]
pub mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const RT_SIGACTION: usize = 13;
    pub const IOCTL: usize = 16;
    pub const PREAD64: usize = 17;
    pub const NANOSLEEP: usize = 35;
    pub const GETPID: usize = 39;
    pub const SOCKET: usize = 41;
    pub const BIND: usize = 49;
    pub const LISTEN: usize = 50;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const EXIT: usize = 60;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const FCNTL: usize = 72;
    pub const FTRUNCATE: usize = 77;
    pub const CHDIR: usize = 80;
    pub const FCHMOD: usize = 91;
    pub const SETPGID: usize = 109;
    pub const SETSID: usize = 112;
    pub const GETPGID: usize = 121;
    pub const SYNC: usize = 162;
    pub const MOUNT: usize = 165;
    pub const SETHOSTNAME: usize = 170;
    pub const CLOCK_SETTIME: usize = 227;
    pub const OPENAT: usize = 257;
    pub const MKDIRAT: usize = 258;
    pub const UNLINKAT: usize = 263;
    pub const SYMLINKAT: usize = 266;
    pub const PPOLL: usize = 271;
    pub const DUP3: usize = 292;
    pub const ACCEPT4: usize = 288;
    pub const PIPE2: usize = 293;
    pub const MEMFD_CREATE: usize = 319;
    pub const PIDFD_OPEN: usize = 434;
    pub const CLOSE_RANGE: usize = 436;
}

#[cfg(target_arch = "aarch64")]
pub mod number {
    pub const DUP3: usize = 24;
    pub const FCNTL: usize = 25;
    pub const IOCTL: usize = 29;
    pub const MKDIRAT: usize = 34;
    pub const UNLINKAT: usize = 35;
    pub const SYMLINKAT: usize = 36;
    pub const MOUNT: usize = 40;
    pub const FTRUNCATE: usize = 46;
    pub const CHDIR: usize = 49;
    pub const FCHMOD: usize = 52;
    pub const OPENAT: usize = 56;
    pub const CLOSE: usize = 57;
    pub const PIPE2: usize = 59;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const PREAD64: usize = 67;
    pub const PPOLL: usize = 73;
    pub const SYNC: usize = 81;
    pub const EXIT: usize = 93;
    pub const NANOSLEEP: usize = 101;
    pub const CLOCK_SETTIME: usize = 112;
    pub const KILL: usize = 129;
    pub const RT_SIGACTION: usize = 134;
    pub const SETPGID: usize = 154;
    pub const GETPGID: usize = 155;
    pub const SETSID: usize = 157;
    pub const SETHOSTNAME: usize = 161;
    pub const GETPID: usize = 172;
    pub const SOCKET: usize = 198;
    pub const BIND: usize = 200;
    pub const LISTEN: usize = 201;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const ACCEPT4: usize = 242;
    pub const WAIT4: usize = 260;
    pub const MEMFD_CREATE: usize = 279;
    pub const PIDFD_OPEN: usize = 434;
    pub const CLOSE_RANGE: usize = 436;
}

/// Relative to the working directory, for calls that take a directory.
const AT_FDCWD: usize = -100_isize as usize;
const CLOEXEC: usize = 0o2_000_000;

pub const READ_ONLY: usize = CLOEXEC;
pub const WRITE_OR_MAKE: usize = 0o1 | 0o100 | CLOEXEC;
pub const WRITE_NEW: usize = 0o1 | 0o100 | 0o1000 | CLOEXEC;
pub const READ_WRITE: usize = 0o2 | CLOEXEC;

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

    pub fn address(&self) -> usize {
        self.bytes.as_ptr() as usize
    }

    /// Without the zero byte that ends it.
    pub fn text(&self) -> &[u8] {
        let end = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(self.bytes.len());
        &self.bytes[..end]
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
        call(number::ACCEPT4, [self.0, 0, 0, CLOEXEC, 0]).map(Self)
    }

    /// The file that standard input is.
    pub const fn standard_input() -> Self {
        Self(0)
    }

    /// A pipe: the end to read from, and the one to write to.
    pub fn pipe() -> Result<(Self, Self), Errno> {
        let mut ends = [0_i32; 2];
        call(number::PIPE2, [ends.as_mut_ptr() as usize, CLOEXEC, 0, 0, 0])?;
        Ok((Self(ends[0] as usize), Self(ends[1] as usize)))
    }

    /// A file in memory of this many bytes, all zero, which nobody can make longer or shorter.
    pub fn memory(name: &CStr, length: usize) -> Result<Self, Errno> {
        const MFD_CLOEXEC: usize = 1;
        const MFD_ALLOW_SEALING: usize = 2;
        const F_ADD_SEALS: usize = 1033;
        /// To seal nothing more, not to shrink, not to grow.
        const SEALS: usize = 0x1 | 0x2 | 0x4;
        let flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        let file = call(number::MEMFD_CREATE, [name.as_ptr() as usize, flags, 0, 0, 0]).map(Self)?;
        call(number::FTRUNCATE, [file.0, length, 0, 0, 0])?;
        call(number::FCNTL, [file.0, F_ADD_SEALS, SEALS, 0, 0])?;
        Ok(file)
    }

    /// A process, which is readable once it has ended.
    pub fn process(process: usize) -> Result<Self, Errno> {
        call(number::PIDFD_OPEN, [process, 0, 0, 0, 0]).map(Self)
    }

    /// As [`change_terminal`].
    pub fn change_terminal(&self, change: impl FnOnce(&mut [u8; 36])) {
        change_terminal(self.0, change);
    }

    /// The file that a request opens.
    pub fn opened_by(&self, request: usize, argument: usize) -> Result<Self, Errno> {
        self.ioctl(request, argument).map(Self)
    }

    /// The same file once more.
    pub fn copy(&self) -> Result<Self, Errno> {
        const F_DUPFD_CLOEXEC: usize = 1030;
        call(number::FCNTL, [self.0, F_DUPFD_CLOEXEC, 0, 0, 0]).map(Self)
    }

    /// Has standard input and output lead here.
    pub fn become_standard_streams(&self) -> Result<(), Errno> {
        (0..=1).try_for_each(|stream| self.become_stream(stream))
    }

    /// Has a standard stream lead here.
    pub fn become_stream(&self, stream: usize) -> Result<(), Errno> {
        call(number::DUP3, [self.0, stream, 0, 0, 0]).map(drop)
    }

    /// Has reading and writing fail where they would have to wait.
    pub fn never_wait(&self) -> Result<(), Errno> {
        const F_GETFL: usize = 3;
        const F_SETFL: usize = 4;
        const NONBLOCK: usize = 0o4000;
        let flags = call(number::FCNTL, [self.0, F_GETFL, 0, 0, 0])?;
        call(number::FCNTL, [self.0, F_SETFL, flags | NONBLOCK, 0, 0]).map(drop)
    }

    /// Lets everybody open it by its name in `/proc`.
    pub fn allow_all(&self) -> Result<(), Errno> {
        call(number::FCHMOD, [self.0, 0o666, 0, 0, 0]).map(drop)
    }

    /// What to wait for on this file.
    pub fn when(&self, wanted: i16) -> Poll {
        Poll { file: self.0 as i32, wanted, found: 0 }
    }

    pub fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        read(self.0, buffer)
    }

    /// Reads from this byte of it on, wherever others read.
    pub fn read_at(&self, buffer: &mut [u8], from: usize) -> Result<usize, Errno> {
        call(number::PREAD64, [self.0, buffer.as_mut_ptr() as usize, buffer.len(), from, 0])
    }

    pub fn write_all(&self, bytes: &[u8]) -> bool {
        write_all(self.0, bytes)
    }

    /// Writes what goes in at once; how much that was.
    pub fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        call(number::WRITE, [self.0, bytes.as_ptr() as usize, bytes.len(), 0, 0])
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

/// A file that is waited for (`struct pollfd`).
#[repr(C)]
pub struct Poll {
    file: i32,
    wanted: i16,
    found: i16,
}

impl Poll {
    pub const READABLE: i16 = 0x1;
    pub const WRITABLE: i16 = 0x4;
    const ERROR: i16 = 0x8;
    const HUNG_UP: i16 = 0x10;

    /// No file, which is never ready.
    pub const fn nothing() -> Self {
        Self { file: -1, wanted: 0, found: 0 }
    }

    /// Whether there is anything to learn by using it.
    pub fn is_ready(&self) -> bool {
        self.found != 0
    }

    /// Whether reading tells something, be it the end.
    pub fn is_readable(&self) -> bool {
        self.found & (Self::READABLE | Self::ERROR | Self::HUNG_UP) != 0
    }

    /// Whether the other side is not there.
    pub fn is_hung_up(&self) -> bool {
        self.found & Self::HUNG_UP != 0
    }
}

/// Waits until one of the files is ready, for ever or, where `ms` is given, that long.
pub fn poll(files: &mut [Poll], ms: Option<u64>) -> Result<usize, Errno> {
    let time = ms.map(|ms| [ms / 1000, ms % 1000 * 1_000_000]);
    let time = time.as_ref().map_or(0, |time| time.as_ptr() as usize);
    call(number::PPOLL, [files.as_mut_ptr() as usize, files.len(), time, 0, 0])
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

/// Changes how a terminal behaves; what is none stays as it is. `struct termios` is four words of flags
/// (input, output, control, local), the line discipline, and 19 control characters.
pub fn change_terminal(fd: usize, change: impl FnOnce(&mut [u8; 36])) {
    const TCGETS: usize = 0x5401;
    const TCSETS: usize = 0x5402;
    let mut termios = [0; 36];
    if ioctl(fd, TCGETS, termios.as_mut_ptr() as usize).is_ok() {
        change(&mut termios);
        let _ = ioctl(fd, TCSETS, termios.as_mut_ptr() as usize);
    }
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

pub fn sync() {
    let _ = call(number::SYNC, [0; 5]);
}

/// Calls the kernel; numbers from -4095 to -1 are errors.
pub fn call(number: usize, arguments: [usize; 5]) -> Result<usize, Errno> {
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
