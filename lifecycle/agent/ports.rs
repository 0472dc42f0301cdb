//! Being reached over ports of a virtio console: batches of steps on one, as on the serial console,
//! commands on another. A port has one other side for as long as the VM lives, in clones another one.

use crate::console::Console;
use crate::system::{self, Errno, File, INVALID, Path, Poll, READ_WRITE};
use crate::{commands, process, text};

/// Their numbers among the ports of the one virtio console, whose port 0 would be a terminal.
const CONTROL: usize = 1;
const COMMANDS: usize = 2;

/// The console's own number is its place among all virtio devices.
const DEVICES: usize = 64;

/// How often a port is looked at that is not ready yet, and for how long in all.
const STEP_MS: u64 = 5;
const LIMIT_MS: u64 = 10_000;

/// Opens both ports, and has processes of their own serve them, until the other side is gone.
pub fn serve(batches: fn(Console)) -> Result<(), Errno> {
    let (control, commands) = (port(CONTROL)?, port(COMMANDS)?);
    if process::fork()? == 0 {
        let _ = control.become_standard_streams();
        batches(Console::open());
        process::exit(0);
    }
    if process::fork()? == 0 {
        // A guest that runs no commands is of no use, but for one that was left to itself.
        if commands::serve(&commands) != Err(commands::GONE) {
            let _ = process::kill_parent();
        }
        process::exit(0);
    }
    Ok(())
}

/// Opens a port once it is there and somebody is on its other side: the kernel hears of both from
/// the VMM some time after it has found the device.
fn port(number: usize) -> Result<File, Errno> {
    const NOT_CONNECTED: Errno = 107;
    for _ in 0..LIMIT_MS / STEP_MS {
        if let Some(port) = (0..DEVICES).find_map(|device| open(device, number).ok()) {
            let mut state = [port.when(Poll::READABLE)];
            system::poll(&mut state, Some(0))?;
            if !state[0].is_hung_up() {
                return Ok(port);
            }
        }
        system::sleep_ms(STEP_MS);
    }
    Err(NOT_CONNECTED)
}

fn open(device: usize, number: usize) -> Result<File, Errno> {
    let (mut one, mut other) = ([0; 20], [0; 20]);
    let (device, number) = (text::decimal(device, &mut one), text::decimal(number, &mut other));
    let path = Path::new(&[b"/dev/vport", device, b"p", number]).ok_or(INVALID)?;
    File::open(&path, READ_WRITE, 0)
}
