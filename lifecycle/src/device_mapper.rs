//! device-mapper's control device: making devices, what it has of a name, and when something happens.
//!
//! What is on our devices a guest has written, so nobody on this host is to look for filesystems, volume
//! groups or labels there. Every event of a device tells udev so: its rules for disks, those of other
//! subsystems (LVM, multipath) and all others leave the device alone. `dmsetup` cannot say it.

use std::io;
use std::os::fd::OwnedFd;

use camino::Utf8PathBuf;
use rustix::fs::{Mode, OFlags, minor, open};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `DM_DEV_CREATE` of linux/dm-ioctl.h: makes a device that has a name and no table.
const CREATE: Opcode = 0xc138_fd03;
/// `DM_DEV_SUSPEND`, which without the flag of that name resumes: the table that was loaded counts.
const RESUME: Opcode = 0xc138_fd06;
/// `DM_DEV_STATUS`: what is known of the device that has a name.
const STATUS: Opcode = 0xc138_fd07;
/// `DM_TABLE_LOAD`.
const LOAD: Opcode = 0xc138_fd09;
/// `DM_DEV_ARM_POLL`: from now on the control device is readable once there has been an event.
const ARM_POLL: Opcode = 0xc138_fd10;

/// The oldest interface that knows both (Linux 4.13).
const VERSION: [u32; 3] = [4, 37, 0];

/// How long a name may be, with the zero behind it.
const NAME: usize = 128;

/// `DM_READONLY_FLAG`: the device cannot be written to.
const READ_ONLY: u32 = 1;

/// What udev is told with an event, in the upper half of what the kernel passes on as `DM_COOKIE`
/// (libdevmapper.h): that no rules of subsystems, of disks and of others count, and that this is
/// the event which says so. Nobody waits for udev: the lower half, which would name a semaphore, is zero.
const COOKIE: u32 = (SUBSYSTEM_RULES_OFF | DISK_RULES_OFF | OTHER_RULES_OFF | PRIMARY_SOURCE) << 16;
const SUBSYSTEM_RULES_OFF: u32 = 0x02;
const DISK_RULES_OFF: u32 = 0x04;
const OTHER_RULES_OFF: u32 = 0x08;
const PRIMARY_SOURCE: u32 = 0x40;

/// How much room a table has, in bytes.
const TABLE: usize = 1024;

/// `struct dm_target_spec`, and what it is aligned to.
const TARGET: usize = 40;
const ALIGNMENT: usize = 8;

/// One line of a device's table, in sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) start: u64,
    pub(crate) length: u64,
    pub(crate) kind: &'static str,
    /// What the kind of target makes of it.
    pub(crate) arguments: String,
}

/// `struct dm_ioctl`.
#[repr(C)]
struct Request {
    version: [u32; 3],
    data_size: u32,
    data_start: u32,
    target_count: u32,
    open_count: i32,
    flags: u32,
    /// The number of an event; where one is made, the cookie that goes with it.
    event: u32,
    padding: u32,
    dev: u64,
    name: [u8; NAME],
    uuid_and_data: [u8; 136],
}

impl Request {
    /// One about the device of a name; about none where the name is empty.
    fn about(name: &str) -> Result<Self, Errno> {
        let mut this = Self {
            version: VERSION,
            data_size: u32::try_from(size_of::<Self>()).map_err(|_| Errno::INVAL)?,
            data_start: 0,
            target_count: 0,
            open_count: 0,
            flags: 0,
            event: 0,
            padding: 0,
            dev: 0,
            name: [0; NAME],
            uuid_and_data: [0; 136],
        };
        let room = this.name[..NAME - 1].get_mut(..name.len());
        room.ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name.as_bytes());
        Ok(this)
    }

    fn send<const REQUEST: Opcode>(&mut self, control: &OwnedFd) -> Result<(), Errno> {
        // SAFETY: the request reads and writes a `struct dm_ioctl`, which `Self` has the layout of.
        unsafe { ioctl(control, Updater::<REQUEST, Self>::new(self)) }
    }
}

/// A request with the table of a device.
#[repr(C)]
struct Table {
    request: Request,
    targets: [u8; TABLE],
}

impl Table {
    fn of(name: &str, targets: &[Target], read_only: bool) -> Result<Self, Errno> {
        let mut this = Self { request: Request::about(name)?, targets: [0; TABLE] };
        let (request, size) = (size_of::<Request>(), size_of::<Self>());
        this.request.data_start = u32::try_from(request).map_err(|_| Errno::INVAL)?;
        this.request.data_size = u32::try_from(size).map_err(|_| Errno::INVAL)?;
        this.request.target_count = u32::try_from(targets.len()).map_err(|_| Errno::INVAL)?;
        this.request.flags = if read_only { READ_ONLY } else { 0 };
        let mut at = 0;
        for target in targets {
            let bytes = target.bytes()?;
            let room = this.targets.get_mut(at..at + bytes.len()).ok_or(Errno::NOSPC)?;
            room.copy_from_slice(&bytes);
            at += bytes.len();
        }
        Ok(this)
    }

    fn load(&mut self, control: &OwnedFd) -> Result<(), Errno> {
        // SAFETY: the request reads and writes as many bytes as its `data_size` says, which `Self` has.
        unsafe { ioctl(control, Updater::<LOAD, Self>::new(self)) }
    }
}

impl Target {
    /// A `struct dm_target_spec` with its arguments, ended by a zero, as long as it says that it is.
    fn bytes(&self) -> Result<Vec<u8>, Errno> {
        let Self { start, length, kind, arguments } = self;
        let size = (TARGET + arguments.len() + 1).next_multiple_of(ALIGNMENT);
        let next = u32::try_from(size).map_err(|_| Errno::INVAL)?;
        let mut bytes = [start.to_ne_bytes(), length.to_ne_bytes()].concat();
        bytes.extend([0_i32.to_ne_bytes(), next.to_ne_bytes()].concat());
        bytes.extend(kind.as_bytes());
        bytes.resize(TARGET, 0);
        bytes.extend(arguments.as_bytes());
        bytes.resize(size, 0);
        Ok(bytes)
    }
}

/// Makes a device of a name with a table, and returns its node. Where it fails, there may be a device
/// without a table; whoever wrote down its name removes it.
///
/// # Errors
/// Where the kernel refuses; why stands in its log.
pub(crate) fn create(name: &str, targets: &[Target], read_only: bool) -> io::Result<Utf8PathBuf> {
    let control = control()?;
    Request::about(name)?.send::<CREATE>(&control)?;
    Table::of(name, targets, read_only)?.load(&control)?;
    let mut request = Request::about(name)?;
    request.event = COOKIE;
    request.send::<RESUME>(&control)?;
    Ok(node_of(&request))
}

/// The node of the device that an answer is about.
fn node_of(answer: &Request) -> Utf8PathBuf {
    format!("/dev/dm-{}", minor(answer.dev)).into()
}

fn control() -> Result<OwnedFd, Errno> {
    open("/dev/mapper/control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// The node of the device of a name, if there is such a device. Who may not ask can have made none.
///
/// Not looked for among the block devices: a device that has no table yet is none (since Linux 5.16).
/// And not in `/dev/mapper`, where nodes are only if there is udev.
///
/// # Errors
/// Where it is not known whether there is one.
pub(crate) fn node(name: &str) -> io::Result<Option<Utf8PathBuf>> {
    let mut request = Request::about(name)?;
    match control().and_then(|control| request.send::<STATUS>(&control)) {
        Ok(()) => Ok(Some(node_of(&request))),
        // There is no device-mapper, or no device.
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => Ok(None),
        Err(Errno::ACCESS | Errno::PERM) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// An ear for events. They do not say of which device they are.
#[derive(Debug)]
pub(crate) struct Events(AsyncFd<OwnedFd>);

impl Events {
    /// Listens from now on. Needs a runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        let control = control()?;
        arm(&control)?;
        // SAFETY: the descriptor is the file's own for as long as this has it.
        Ok(Self(unsafe { AsyncFd::register_with_interest(control, Interest::READABLE)? }))
    }

    /// Waits for the next one.
    pub(crate) async fn next(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        ready.clear_ready();
        arm(self.0.get_ref())
    }
}

fn arm(control: &OwnedFd) -> io::Result<()> {
    Ok(Request::about("")?.send::<ARM_POLL>(control)?)
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_request_has_the_kernels_layout() {
        assert_eq!(size_of::<Request>(), 312);
        assert_eq!((offset_of!(Request, dev), offset_of!(Request, name)), (40, 48));
        assert_eq!((offset_of!(Request, flags), offset_of!(Request, event)), (28, 32));
        assert_eq!(offset_of!(Table, targets), 312);
    }

    #[test]
    fn udev_is_told_to_leave_a_device_alone() {
        // As `dmsetup udevflags` reads it.
        assert_eq!(COOKIE, 0x004e_0000);
    }

    #[test]
    fn a_table_has_the_kernels_layout() {
        let target = |start, kind, arguments: &str| {
            let arguments = arguments.to_owned();
            Target { start, length: 8, kind, arguments }
        };
        let targets = [target(0, "linear", "/dev/loop0 0"), target(8, "zero", "")];
        let table = Table::of("banger-0123abcd", &targets, true).unwrap();
        assert_eq!((table.request.target_count, table.request.flags), (2, READ_ONLY));
        assert_eq!((table.request.data_start, table.request.data_size), (312, 312 + 1024));
        let number = |at: usize| u32::from_ne_bytes(table.targets[at..at + 4].try_into().unwrap());
        // 40 bytes, 12 of arguments and a zero, and three to the next multiple of eight.
        assert_eq!((number(0), number(8), number(20)), (0, 8, 56));
        assert_eq!(&table.targets[24..41], b"linear\0\0\0\0\0\0\0\0\0\0/");
        assert_eq!((number(56), number(56 + 20)), (8, 48));
        assert_eq!(&table.targets[56 + 24..56 + 29], b"zero\0");
        let long = [target(0, "linear", &"x".repeat(TABLE))];
        assert_eq!(Table::of("x", &long, false).map(|_| ()), Err(Errno::NOSPC));
    }

    #[test]
    fn a_name_that_no_device_can_have_is_refused() {
        let refused = node(&"a".repeat(NAME)).unwrap_err();
        assert_eq!(Errno::from_io_error(&refused), Some(Errno::NAMETOOLONG));
    }
}
