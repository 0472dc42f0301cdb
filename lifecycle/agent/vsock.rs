//! Being reached over vsock, where the VMM has that in place of a network: sshd on one port, and
//! batches of steps, as on the console, on another. The listening sockets live on in clones; the
//! connections of their template do not.

use crate::console::Console;
use crate::system::{self, Errno, File, INVALID, Path, READ_ONLY, WRITE_OR_MAKE};

/// Where sshd is; the port that it has on networks.
const SSH_PORT: u32 = 22;

/// Where batches are taken.
const CONTROL_PORT: u32 = 1024;

/// Whether the boot script's settings ask for it.
pub fn is_wanted() -> bool {
    const WORDS: &[u8] = b"CHANNEL=vsock";
    let Some(path) = Path::new(&[b"/run/banger/config"]) else { return false };
    let Ok(file) = File::open(&path, READ_ONLY, 0) else { return false };
    let mut text = [0; 4096];
    let read = file.read(&mut text).unwrap_or(0);
    text[..read].split(|byte| *byte == b'\n').any(|line| line == WORDS)
}

/// Listens on both ports, and has processes of their own serve them.
pub fn serve(batches: fn(Console)) -> Result<(), Errno> {
    let (control, ssh) = (File::vsock(CONTROL_PORT)?, File::vsock(SSH_PORT)?);
    if system::fork()? == 0 {
        loop {
            let _ = control.accept().and_then(|connection| {
                connection.become_standard_streams()?;
                batches(Console::open());
                Ok(())
            });
        }
    }
    if system::fork()? == 0 {
        loop {
            let _ = ssh.accept().and_then(serve_ssh);
        }
    }
    Ok(())
}

/// Has an sshd serve one connection. It is nobody's child, so that nobody waits for it.
fn serve_ssh(connection: File) -> Result<(), Errno> {
    let child = system::fork()?;
    if child > 0 {
        return system::wait(child);
    }
    if system::fork() == Ok(0) {
        let _ = become_sshd(&connection);
    }
    system::exit(0)
}

fn become_sshd(connection: &File) -> Result<(), Errno> {
    // What it starts may be killed for want of memory, as we may not.
    let score = Path::new(&[b"/proc/self/oom_score_adj"]).ok_or(INVALID)?;
    File::open(&score, WRITE_OR_MAKE, 0)?.write_all(b"0");
    connection.become_standard_streams()?;
    const SSHD: &[&[u8]] = &[
        b"/usr/sbin/sshd",
        b"-i",
        b"-f",
        b"/run/banger/sshd_config",
        b"-E",
        b"/run/banger/sshd.log",
    ];
    system::become_program(SSHD)
}
