//! device-mapper's control device: what it has of a name, and when something happens.

use std::io;
use std::os::fd::OwnedFd;

use camino::Utf8PathBuf;
use rustix::fs::{Mode, OFlags, minor, open};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `DM_DEV_STATUS` of linux/dm-ioctl.h: what is known of the device that has a name.
const STATUS: Opcode = 0xc138_fd07;
/// `DM_DEV_ARM_POLL`: from now on the control device is readable once there has been an event.
const ARM_POLL: Opcode = 0xc138_fd10;

/// The oldest interface that knows both (Linux 4.13).
const VERSION: [u32; 3] = [4, 37, 0];

/// How long a name may be, with the zero behind it.
const NAME: usize = 128;

/// `struct dm_ioctl`.
#[repr(C)]
struct Request {
    version: [u32; 3],
    data_size: u32,
    counts: [u32; 6],
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
            counts: [0; 6],
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
        Ok(()) => Ok(Some(format!("/dev/dm-{}", minor(request.dev)).into())),
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
    }

    #[test]
    fn a_name_that_no_device_can_have_is_refused() {
        let refused = node(&"a".repeat(NAME)).unwrap_err();
        assert_eq!(Errno::from_io_error(&refused), Some(Errno::NAMETOOLONG));
    }
}
