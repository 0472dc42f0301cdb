//! Waiting for device-mapper to say that something has happened to one of its devices.

use std::io;

use fs_err as fs;
use rustix::ioctl::{Opcode, Updater, ioctl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `DM_DEV_ARM_POLL` of linux/dm-ioctl.h: from now on the control device is readable once there has
/// been an event.
const ARM_POLL: Opcode = 0xc138_fd10;

/// The oldest interface that knows it (Linux 4.13).
const VERSION: [u32; 3] = [4, 37, 0];

/// `struct dm_ioctl`, of which the request reads the version and its own size only.
#[repr(C)]
struct Request {
    version: [u32; 3],
    data_size: u32,
    rest: [u64; 37],
}

/// An ear for events. They do not say of which device they are.
#[derive(Debug)]
pub(crate) struct Events(AsyncFd<std::fs::File>);

impl Events {
    /// Listens from now on. Needs a runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut options = fs::OpenOptions::new();
        let control = options.read(true).write(true).open("/dev/mapper/control")?.into_parts().0;
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

fn arm(control: &std::fs::File) -> io::Result<()> {
    let data_size = u32::try_from(size_of::<Request>()).map_err(io::Error::other)?;
    let mut request = Request { version: VERSION, data_size, rest: [0; 37] };
    // SAFETY: the request reads and writes a `struct dm_ioctl`, which `Request` has the size of.
    unsafe { ioctl(control, Updater::<ARM_POLL, Request>::new(&mut request))? };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_kernels_size() {
        assert_eq!(size_of::<Request>(), 312);
    }
}
