//! Processes: started, become other programs, signalled, waited for.

use crate::system::{Errno, File, INVALID, Path, WRITE_OR_MAKE, call, number};

const PATH: &core::ffi::CStr = c"PATH=/usr/sbin:/usr/bin:/sbin:/bin";

/// What the kernel may kill for want of memory: the agent last, and what it starts as any other.
pub enum Worth {
    Agent,
    Command,
}

/// Has the kernel know what this process is worth.
pub fn be_worth(worth: &Worth) -> Result<(), Errno> {
    let score: &[u8] = match worth {
        Worth::Agent => b"-1000",
        Worth::Command => b"0",
    };
    let path = Path::new(&[b"/proc/self/oom_score_adj"]).ok_or(INVALID)?;
    File::open(&path, WRITE_OR_MAKE, 0)?.write_all(score);
    Ok(())
}

/// What a process does about a signal.
#[derive(Clone, Copy)]
pub enum Reaction {
    Default = 0,
    Ignore = 1,
}

pub const HANG_UP: usize = 1;
pub const KILL: usize = 9;
pub const PIPE: usize = 13;
pub const CONTINUE: usize = 18;

/// Decides what this process does about every signal but its children's ends, where it can decide.
pub fn react_to_all(reaction: Reaction) {
    const CHILD: usize = 17;
    const LAST: usize = 31;
    for signal in (1..=LAST).filter(|signal| *signal != CHILD) {
        let _ = react(signal, reaction);
    }
}

/// Decides what this process does about a signal.
pub fn react(signal: usize, reaction: Reaction) -> Result<(), Errno> {
    // `struct sigaction`: handler, flags, restorer, mask.
    let action = [reaction as usize, 0, 0, 0];
    let mask = size_of::<u64>();
    call(number::RT_SIGACTION, [signal, action.as_ptr() as usize, 0, mask, 0]).map(drop)
}

/// This process.
pub fn own() -> Result<usize, Errno> {
    call(number::GETPID, [0; 5])
}

/// The group that a process is in.
pub fn group_of(process: usize) -> Result<usize, Errno> {
    call(number::GETPGID, [process, 0, 0, 0, 0])
}

/// Sends a signal to a process; to the group of that number where it is negative.
pub fn kill(process: isize, signal: usize) -> Result<usize, Errno> {
    call(number::KILL, [process as usize, signal, 0, 0, 0])
}

/// Starts a process that goes on from here as this one does; 0 in the new one.
pub fn fork() -> Result<usize, Errno> {
    const SIGCHLD: usize = 17;
    call(number::CLONE, [SIGCHLD, 0, 0, 0, 0])
}

/// Waits for a child's end; returns its wait status.
pub fn wait(child: usize) -> Result<i32, Errno> {
    let mut status = 0_i32;
    call(number::WAIT4, [child, (&raw mut status) as usize, 0, 0, 0])?;
    Ok(status)
}

/// A wait status as a shell has it: death by signal `n` is `128 + n`.
pub fn shell_status(status: i32) -> usize {
    let signal = status & 0x7f;
    (if signal == 0 { status >> 8 & 0xff } else { 128 + signal }) as usize
}

/// Closes every file of this process from this number on.
pub fn close_from(first: usize) -> Result<(), Errno> {
    call(number::CLOSE_RANGE, [first, u32::MAX as usize, 0, 0, 0]).map(drop)
}

/// Leads a session and a process group of its own from now on.
pub fn lead_session() -> Result<(), Errno> {
    call(number::SETSID, [0; 5]).map(drop)
}

/// Has a terminal be the one of this session, whose leader this process is: keys signal its group.
pub fn control(terminal: &File) -> Result<(), Errno> {
    const TIOCSCTTY: usize = 0x540e;
    terminal.ioctl(TIOCSCTTY, 0).map(drop)
}

/// Has the end of this process, which leads a terminal's session, signal nobody: it would hang up
/// the group in the foreground, which is nobody's from now on.
pub fn spare_foreground(terminal: &File) -> Result<(), Errno> {
    const TIOCSPGRP: usize = 0x5410;
    let nobody = fork()?;
    if nobody == 0 {
        exit(0);
    }
    // Who has ended and is not waited for still makes a group.
    call(number::SETPGID, [nobody, nobody, 0, 0, 0])?;
    let group = nobody as i32;
    terminal.ioctl(TIOCSPGRP, (&raw const group) as usize).map(drop)
}

/// Becomes a program, whose path and arguments these are; returns only if that fails.
pub fn become_program(words: &[&[u8]]) -> Result<(), Errno> {
    const WORDS: usize = 8;
    let mut space = [0; 1024];
    let (mut end, mut addresses) = (0, [0; WORDS + 1]);
    for (word, address) in words.iter().zip(&mut addresses[..WORDS]) {
        // Each ends with a zero byte.
        space.get_mut(end..end + word.len()).ok_or(INVALID)?.copy_from_slice(word);
        *address = space.as_ptr() as usize + end;
        end += word.len() + 1;
    }
    let environment = [PATH.as_ptr() as usize, 0];
    let (argv, environment) = (addresses.as_ptr() as usize, environment.as_ptr() as usize);
    call(number::EXECVE, [addresses[0], argv, environment, 0, 0]).map(drop)
}

/// Runs a program to its end, with its name and these arguments; returns its wait status.
pub fn run(program: &Path, arguments: &[&Path; 2]) -> Result<i32, Errno> {
    const FAILED: usize = 127;
    let argv = [program.address(), arguments[0].address(), arguments[1].address(), 0];
    let environment = [PATH.as_ptr() as usize, 0];
    let child = fork()?;
    if child == 0 {
        let _ = react(PIPE, Reaction::Default);
        let (argv, environment) = (argv.as_ptr() as usize, environment.as_ptr() as usize);
        let _ = call(number::EXECVE, [program.address(), argv, environment, 0, 0]);
        exit(FAILED);
    }
    wait(child)
}

pub fn exit(status: usize) -> ! {
    loop {
        let _ = call(number::EXIT, [status, 0, 0, 0, 0]);
    }
}
