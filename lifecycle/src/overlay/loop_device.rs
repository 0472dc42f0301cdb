//! Loop devices: files as block devices. Each is gone by itself when the last who has it open closes
//! it (`LO_FLAGS_AUTOCLEAR`), so that nothing has to be written down to be swept.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsRawFd as _;

use super::Access;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, Setter, ioctl};

/// A loop device that is there for as long as this lives, or a device-mapper table names it.
#[derive(Debug)]
pub(crate) struct LoopDevice {
    _device: fs::File,
    path: Utf8PathBuf,
}

/// How often a free device is looked for: others look too.
const ATTEMPTS: usize = 64;

/// From linux/loop.h.
const CTL_GET_FREE: Opcode = 0x4c82;
const CONFIGURE: Opcode = 0x4c0a;
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;

/// `struct loop_config`, with the `struct loop_info64` in it.
#[repr(C)]
struct Config {
    file: u32,
    block_size: u32,
    before_flags: [u8; 52],
    flags: u32,
    after_flags: [u8; 176],
    reserved: [u64; 8],
}

impl LoopDevice {
    /// Makes the first free device stand for a file.
    pub(crate) fn attach(file: &Utf8Path, access: Access) -> io::Result<Self> {
        let read_only = access == Access::ReadOnly;
        let file = fs::OpenOptions::new().read(true).write(!read_only).open(file)?;
        let control = fs::OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
        for _ in 0..ATTEMPTS {
            // SAFETY: the request takes no argument.
            let number = unsafe { ioctl(&control, GetFree)? };
            let path = Utf8PathBuf::from(format!("/dev/loop{number}"));
            let device = fs::OpenOptions::new().read(true).write(!read_only).open(&path)?;
            match configure(&device, &file, read_only) {
                Err(Errno::BUSY) => {}
                Err(error) => return Err(error.into()),
                Ok(()) => return Ok(Self { _device: device, path }),
            }
        }
        Err(io::Error::other("no loop device stays free"))
    }

    /// The device.
    pub(crate) fn path(&self) -> &Utf8Path {
        &self.path
    }
}

fn configure(device: &fs::File, file: &fs::File, read_only: bool) -> Result<(), Errno> {
    let config = Config {
        file: file.as_raw_fd().cast_unsigned(),
        block_size: 0,
        before_flags: [0; 52],
        flags: AUTOCLEAR | if read_only { READ_ONLY } else { 0 },
        after_flags: [0; 176],
        reserved: [0; 8],
    };
    // SAFETY: the request reads a `struct loop_config`, which `Config` has the layout of.
    unsafe { ioctl(device, Setter::<CONFIGURE, Config>::new(config)) }
}

/// Asks for the number of a free device.
struct GetFree;

// SAFETY: the request takes no argument, and its result is the number.
unsafe impl Ioctl for GetFree {
    type Output = i32;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(number: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_configuration_has_the_kernels_layout() {
        assert_eq!(size_of::<Config>(), 304);
        assert_eq!(offset_of!(Config, flags), 8 + 52);
    }

    #[test]
    fn a_file_is_a_device_until_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let file = Utf8Path::from_path(dir.path()).unwrap().join("file");
        fs::write(&file, [7; 4096]).unwrap();
        let Ok(device) = LoopDevice::attach(&file, Access::ReadOnly) else {
            eprintln!("left out: this user may make no loop devices here");
            return;
        };
        assert_eq!(fs::read(device.path()).unwrap(), [7; 4096]);
        let backing = format!("/sys/block/{}/loop", device.path().file_name().unwrap());
        assert!(Utf8Path::new(&backing).exists());
        drop(device);
        // Others that look at every new device, such as blkid, may have it open for a moment.
        let deadline = Instant::now() + Duration::from_secs(30);
        while Utf8Path::new(&backing).exists() {
            assert!(Instant::now() < deadline, "{backing} stays");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
