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

/// Signals that the agent or who started it ignores, and no command should.
pub const INTERRUPT: usize = 2;
pub const QUIT: usize = 3;
pub const KILL: usize = 9;
pub const PIPE: usize = 13;

/// Decides what this process does about a signal.
pub fn react(signal: usize, reaction: Reaction) -> Result<(), Errno> {
    // `struct sigaction`: handler, flags, restorer, mask.
    let action = [reaction as usize, 0, 0, 0];
    let mask = size_of::<u64>();
    call(number::RT_SIGACTION, [signal, action.as_ptr() as usize, 0, mask, 0]).map(drop)
}

/// Sends a signal to a process; to the group of that number where it is negative.
pub fn kill(process: isize, signal: usize) -> Result<usize, Errno> {
    call(number::KILL, [process as usize, signal, 0, 0, 0])
}

const SIGCHLD: usize = 17;

/// Kills the process that started this one.
pub fn kill_parent() -> Result<usize, Errno> {
    let parent = call(number::GETPPID, [0; 5])?;
    kill(parent as isize, KILL)
}

/// Starts a process that goes on from here as this one does; 0 in the new one.
pub fn fork() -> Result<usize, Errno> {
    call(number::CLONE, [SIGCHLD, 0, 0, 0, 0])
}

/// As [`fork`], and returns here only when the new one has become a program or has ended.
pub fn fork_and_wait() -> Result<usize, Errno> {
    const CLONE_VFORK: usize = 0x4000;
    call(number::CLONE, [CLONE_VFORK | SIGCHLD, 0, 0, 0, 0])
}

/// Waits for a child's end; returns its wait status.
pub fn wait(child: usize) -> Result<i32, Errno> {
    let mut status = 0_i32;
    call(number::WAIT4, [child, (&raw mut status) as usize, 0, 0, 0])?;
    Ok(status)
}

/// Leads a session and a process group of its own from now on.
pub fn lead_session() -> Result<(), Errno> {
    call(number::SETSID, [0; 5]).map(drop)
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
