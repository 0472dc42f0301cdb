//! Being reached over ports of a virtio console: batches of steps on one, as on the serial console,
//! commands on another. A port has one other side for as long as the VM is attended, in clones another
//! one; to a VM that was kept, others come.

use crate::console::Console;
use crate::system::{self, Errno, File, GONE, INVALID, Path, Poll, READ_WRITE};
use crate::{commands, process, text};

/// Their numbers among the ports of the one virtio console, whose port 0 would be a terminal.
const CONTROL: usize = 1;
const COMMANDS: usize = 2;

/// The console's own number is its place among all virtio devices.
const DEVICES: usize = 64;

/// How often a port is looked at that is not ready yet, and for how long in all.
const STEP_MS: u64 = 5;
const LIMIT_MS: u64 = 10_000;

/// How often a port is looked at whose other side has gone: nothing tells that somebody comes.
const IDLE_MS: u64 = 100;

/// Opens both ports, and has processes of their own serve them, until the other side is gone.
pub fn serve(batches: fn(Console)) -> Result<(), Errno> {
    let (control, commands) = (port(CONTROL)?, port(COMMANDS)?);
    // Each port is one process's: where that ends, the host is told.
    if process::fork()? == 0 {
        drop(commands);
        let _ = control.become_standard_streams();
        drop(control);
        batches(Console::open());
        process::exit(0);
    }
    if process::fork()? == 0 {
        drop(control);
        while commands::serve(&commands) == Err(GONE) {
            while !is_joined(&commands) {
                system::sleep_ms(IDLE_MS);
            }
        }
        process::exit(0);
    }
    Ok(())
}

/// Opens a port and waits until somebody is on its other side: the kernel hears of both from the VMM
/// some time after it has found the device. It is opened once: the host is told of each closing.
fn port(number: usize) -> Result<File, Errno> {
    let port = wait_for(|| (0..DEVICES).find_map(|device| open(device, number).ok()))?;
    wait_for(|| is_joined(&port).then_some(()))?;
    Ok(port)
}

/// Whether somebody is on the other side.
fn is_joined(port: &File) -> bool {
    let mut state = [port.when(Poll::READABLE)];
    system::poll(&mut state, Some(0)).is_ok() && !state[0].is_hung_up()
}

fn wait_for<T>(attempt: impl Fn() -> Option<T>) -> Result<T, Errno> {
    const NOT_CONNECTED: Errno = 107;
    for _ in 0..LIMIT_MS / STEP_MS {
        if let Some(done) = attempt() {
            return Ok(done);
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
