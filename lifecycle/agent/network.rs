//! The network device's address, and whether connections are open.

use crate::system::{self, Errno, File, INVALID, Path, READ_ONLY};
use crate::text;

/// Gives a network device another hardware address, `aa:bb:cc:dd:ee:ff`.
pub fn set_address(device: &[u8], address: &[u8]) -> Result<(), Errno> {
    const SIOCSIFHWADDR: usize = 0x8924;
    const ETHERNET: u8 = 1;
    // `struct ifreq`: 16 bytes of name, then `struct sockaddr` with the family in two bytes.
    let mut request = [0_u8; 40];
    let length = device.len().min(15);
    request[..length].copy_from_slice(&device[..length]);
    request[16] = ETHERNET;
    for (byte, pair) in request[18..24].iter_mut().zip(address.split(|byte| *byte == b':')) {
        text::hex(pair, core::slice::from_mut(byte)).ok_or(INVALID)?;
    }
    File::socket()?.ioctl(SIOCSIFHWADDR, request.as_ptr() as usize).map(drop)
}

/// Waits until no TCP connection is open, for at most `seconds`.
pub fn wait_until_quiet(seconds: u64) -> Result<(), Errno> {
    const STEP_MS: u64 = 5;
    const TIMED_OUT: Errno = 110;
    for _ in 0..seconds * 1000 / STEP_MS {
        if connections(b"/proc/net/tcp")? + connections(b"/proc/net/tcp6")? == 0 {
            return Ok(());
        }
        system::sleep_ms(STEP_MS);
    }
    Err(TIMED_OUT)
}

/// How many sockets of a table do more than listen: those in another state than 0A.
fn connections(table: &[u8]) -> Result<usize, Errno> {
    const MISSING: Errno = 2;
    let path = Path::new(&[table]).ok_or(MISSING)?;
    let table = match File::open(&path, READ_ONLY, 0) {
        Err(MISSING) => return Ok(0),
        table => table?,
    };
    let mut buffer = [0; 16 << 10];
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match table.read(rest)? {
            0 => break,
            read => length += read,
        }
    }
    let lines = buffer[..length].split(|byte| *byte == b'\n').skip(1);
    let state = |line: &[u8]| {
        let words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        words.clone().nth(3).map(|state| state != b"0A")
    };
    Ok(lines.filter_map(state).filter(|open| *open).count())
}
