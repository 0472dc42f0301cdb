//! What a batch may consist of.

use crate::system::{self, Errno, File, INVALID, Path, READ_ONLY, WRITE_NEW, WRITE_OR_MAKE};
use crate::text;
use crate::{network, process};

/// The step that failed, and the error's number.
pub struct Failure {
    pub step: &'static [u8],
    pub code: Errno,
}

type Fields<'a> = [&'a [u8]; 4];
type Step = fn(Fields<'_>) -> Result<(), Errno>;

/// Name and function of every step.
const STEPS: &[(&[u8], Step)] = &[
    // Makes the kernel's random numbers differ from those of whoever shares our past.
    (b"seed", |[hex, ..]| seed(hex)),
    (b"clock", |[seconds, nanoseconds, ..]| {
        let number = |digits| text::number(digits).ok_or(INVALID);
        system::set_clock(number(seconds)?, number(nanoseconds)?).map(drop)
    }),
    (b"hostname", |[name, ..]| system::set_hostname(name).map(drop)),
    (b"address", |[device, address, ..]| network::set_address(device, address)),
    // Path, mode in decimal, content.
    (b"file", |[path, mode, content, _]| file(path, mode, content)),
    (b"directory", |[path, ..]| directories(path)),
    (b"link", |[path, target, ..]| link(path, target)),
    (b"bind", |[from, to, ..]| bind(from, to)),
    (b"show", |[file, at, ..]| show(file, at)),
    // Serial number of a disk, filesystem, options, mount point.
    (b"disk", |[serial, filesystem, options, path]| disk(serial, filesystem, options, path)),
    // Mount point, options.
    (b"overlay", |[path, options, ..]| overlay(path, options)),
    // A file with a process's number, and the number of the signal it gets.
    (b"signal", |[file, signal, ..]| {
        let mut digits = [0; 24];
        let read = File::open(&plain(file)?, READ_ONLY, 0)?.read(&mut digits)?;
        let pid = text::number(digits[..read].trim_ascii()).ok_or(INVALID)?;
        process::kill(pid as isize, text::number(signal).ok_or(INVALID)? as usize).map(drop)
    }),
    // A program and two arguments. How it ends is its own business.
    (b"run", |[program, one, other, _]| {
        process::run(&plain(program)?, &[&plain(one)?, &plain(other)?]).map(drop)
    }),
    // Writes a filesystem out and holds it still.
    (b"freeze", |[path, ..]| {
        const FIFREEZE: usize = 0xc004_5877;
        File::open(&plain(path)?, READ_ONLY, 0)?.ioctl(FIFREEZE, 0).map(drop)
    }),
    // Writes everything out.
    (b"sync", |_| {
        system::sync();
        Ok(())
    }),
    // Fails where the ext4 filesystem on the disk with a serial number has met with errors.
    (b"sound", |[serial, ..]| sound(serial)),
    // Waits, for so many seconds at most, until nobody is connected, and writes everything out.
    (b"settle", |[seconds, ..]| {
        network::wait_until_quiet(text::number(seconds).ok_or(INVALID)?)?;
        system::sync();
        Ok(())
    }),
];

/// Carries out one step.
pub fn perform<'a>(name: &[u8], mut fields: impl Iterator<Item = &'a [u8]>) -> Result<(), Failure> {
    let Some((step, run)) = STEPS.iter().find(|(step, _)| *step == name) else {
        return Err(Failure { step: b"an unknown step", code: INVALID });
    };
    let fields = core::array::from_fn(|_| fields.next().unwrap_or_default());
    run(fields).map_err(|code| Failure { step, code })
}

/// Credits the pool with the seed and has the generator take it up at once (random(4)).
fn seed(hex: &[u8]) -> Result<(), Errno> {
    const RNDADDENTROPY: usize = 0x4008_5203;
    const RNDRESEEDCRNG: usize = 0x5207;
    // `struct rand_pool_info`: bits, bytes, the bytes.
    let mut pool = [0_u32; 2 + 16];
    let mut bytes = [0; 64];
    let length = text::hex(hex, &mut bytes).ok_or(INVALID)?;
    for (word, chunk) in pool[2..].iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*chunk);
    }
    (pool[0], pool[1]) = (length as u32 * 8, length as u32);
    let random = File::open(&plain(b"/dev/urandom")?, READ_ONLY, 0)?;
    random.ioctl(RNDADDENTROPY, pool.as_ptr() as usize)?;
    random.ioctl(RNDRESEEDCRNG, 0).map(drop)
}

fn file(path: &[u8], mode: &[u8], content: &[u8]) -> Result<(), Errno> {
    const NO_SPACE: Errno = 28;
    let mode = text::number(mode).ok_or(INVALID)?;
    let mut buffer = [0; 16 << 10];
    let length = text::unescape(content, &mut buffer).ok_or(INVALID)?;
    let file = File::open(&unescaped(path)?, WRITE_NEW, mode as usize)?;
    if file.write_all(&buffer[..length]) { Ok(()) } else { Err(NO_SPACE) }
}

/// Makes a directory and those above it.
fn directories(path: &[u8]) -> Result<(), Errno> {
    const EXISTS: Errno = 17;
    let mut buffer = [0; 4096];
    let length = text::unescape(path, &mut buffer).ok_or(INVALID)?;
    let path = &buffer[..length];
    let ends = (1..length).filter(|at| path[*at] == b'/').chain([length]);
    for end in ends {
        match system::mkdir(&plain(&path[..end])?, 0o755) {
            Ok(_) | Err(EXISTS) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn link(path: &[u8], target: &[u8]) -> Result<(), Errno> {
    let path = unescaped(path)?;
    // What was not there need not go.
    let _ = system::unlink(&path);
    system::symlink(&unescaped(target)?, &path).map(drop)
}

fn bind(from: &[u8], to: &[u8]) -> Result<(), Errno> {
    const BIND: usize = 4096;
    let nothing = plain(b"")?;
    system::mount(&unescaped(from)?, &unescaped(to)?, &nothing, BIND, &nothing).map(drop)
}

/// Binds a file over another, which is made with the directories above it.
fn show(file: &[u8], at: &[u8]) -> Result<(), Errno> {
    let parent = at.iter().rposition(|byte| *byte == b'/').ok_or(INVALID)?;
    if parent > 0 {
        directories(&at[..parent])?;
    }
    drop(File::open(&unescaped(at)?, WRITE_OR_MAKE, 0o755)?);
    bind(file, at)
}

fn overlay(path: &[u8], options: &[u8]) -> Result<(), Errno> {
    let name = plain(b"overlay")?;
    system::mount(&name, &unescaped(path)?, &name, 0, &unescaped(options)?).map(drop)
}

/// Mounts the disk with a serial number.
fn disk(serial: &[u8], filesystem: &[u8], options: &[u8], path: &[u8]) -> Result<(), Errno> {
    const BLKFLSBUF: usize = 0x1261;
    let device = device(serial)?;
    // Another disk may have been in its place when the kernel first looked.
    File::open(&device, READ_ONLY, 0)?.ioctl(BLKFLSBUF, 0)?;
    directories(path)?;
    let (mut flags, mut data, mut end) = (0, [0; 256], 0);
    for option in options.split(|byte| *byte == b',') {
        match option {
            b"rw" => {}
            b"ro" => flags |= 1,
            b"noatime" => flags |= 1024,
            other => {
                let separator: &[u8] = if end == 0 { b"" } else { b"," };
                for part in [separator, other] {
                    data.get_mut(end..end + part.len()).ok_or(INVALID)?.copy_from_slice(part);
                    end += part.len();
                }
            }
        }
    }
    let data = plain(&data[..end])?;
    system::mount(&device, &unescaped(path)?, &plain(filesystem)?, flags, &data).map(drop)
}

/// The device of the virtio disk with a serial number.
fn device(serial: &[u8]) -> Result<Path, Errno> {
    const NO_DEVICE: Errno = 19;
    // Where disks have no serial numbers, the host says which device it is.
    if serial.first() == Some(&b'/') {
        return plain(serial);
    }
    for letter in b'a'..=b'z' {
        let sysfs = Path::new(&[b"/sys/block/vd", &[letter], b"/serial"]).ok_or(INVALID)?;
        let Ok(file) = File::open(&sysfs, READ_ONLY, 0) else { continue };
        let mut buffer = [0; 32];
        let read = file.read(&mut buffer)?;
        if buffer[..read].trim_ascii_end() == serial {
            return Path::new(&[b"/dev/vd", &[letter]]).ok_or(INVALID);
        }
    }
    Err(NO_DEVICE)
}

/// Fails where a mounted disk's filesystem has counted errors, in its superblock.
fn sound(serial: &[u8]) -> Result<(), Errno> {
    const NEEDS_CLEANING: Errno = 117;
    let device = device(serial)?;
    let name = device.text().strip_prefix(b"/dev/").ok_or(INVALID)?;
    let count = Path::new(&[b"/sys/fs/ext4/", name, b"/errors_count"]).ok_or(INVALID)?;
    let mut digits = [0; 24];
    // A kernel that tells nothing is none to blame a disk by.
    let Ok(count) = File::open(&count, READ_ONLY, 0) else { return Ok(()) };
    let read = count.read(&mut digits)?;
    if digits[..read].trim_ascii() == b"0" { Ok(()) } else { Err(NEEDS_CLEANING) }
}

fn plain(text: &[u8]) -> Result<Path, Errno> {
    Path::new(&[text]).ok_or(INVALID)
}

fn unescaped(field: &[u8]) -> Result<Path, Errno> {
    let mut buffer = [0; 4096];
    let length = text::unescape(field, &mut buffer).ok_or(INVALID)?;
    plain(&buffer[..length])
}
