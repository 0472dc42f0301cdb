//! Being reached over vsock: sshd on one port, and on two others batches of steps, as on the console,
//! and commands. The listening sockets live on in clones; the connections of their template do not.

use crate::commands;
use crate::console::Console;
use crate::process::{self, PIPE, Reaction, Worth};
use crate::system::{Errno, File};

/// Where sshd is; the port that it has on networks.
const SSH_PORT: u32 = 22;

/// Where batches are taken.
const CONTROL_PORT: u32 = 1024;

/// Where commands are run.
const COMMANDS_PORT: u32 = 1025;

/// Listens on all ports, and has processes of their own serve them.
pub fn serve(batches: fn(Console)) -> Result<(), Errno> {
    let (control, commands) = (File::vsock(CONTROL_PORT)?, File::vsock(COMMANDS_PORT)?);
    let ssh = File::vsock(SSH_PORT)?;
    serve_each(&control, |connection| {
        connection.become_standard_streams()?;
        batches(Console::open());
        Ok(())
    })?;
    serve_each(&commands, |connection| commands::serve(&connection))?;
    serve_each(&ssh, serve_ssh)
}

/// Has a process of its own serve one connection after another.
fn serve_each(socket: &File, serve: impl Fn(File) -> Result<(), Errno>) -> Result<(), Errno> {
    if process::fork()? == 0 {
        loop {
            let _ = socket.accept().and_then(&serve);
        }
    }
    Ok(())
}

/// Has an sshd serve one connection. It is nobody's child, so that nobody waits for it.
fn serve_ssh(connection: File) -> Result<(), Errno> {
    let child = process::fork()?;
    if child > 0 {
        return process::wait(child).map(drop);
    }
    if process::fork() == Ok(0) {
        let _ = become_sshd(&connection);
    }
    process::exit(0)
}

fn become_sshd(connection: &File) -> Result<(), Errno> {
    process::be_worth(&Worth::Command)?;
    process::react(PIPE, Reaction::Default)?;
    connection.become_standard_streams()?;
    const SSHD: &[&[u8]] = &[
        b"/usr/sbin/sshd",
        b"-i",
        b"-f",
        b"/run/banger/sshd_config",
        b"-E",
        b"/run/banger/sshd.log",
    ];
    process::become_program(SSHD)
}
