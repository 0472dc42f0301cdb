//! The process between the agent and a command.

use crate::process::{self, Reaction, Worth};
use crate::program;
use crate::system::{Errno, File};
use crate::verdict::Verdict;

/// Leads the session and the group of a command, and waits for it: a command is no leader, which may
/// not do all that others may. Returns its status, as a shell has it.
pub fn lead(
    asked: &[u8],
    streams: &[File; 3],
    verdict: Option<&Verdict>,
    leading: File,
    on_terminal: bool,
) -> Result<usize, Errno> {
    process::lead_session()?;
    if on_terminal {
        process::control(&streams[0])?;
    }
    // What is sent to the group is for the command.
    process::react_to_all(Reaction::Ignore);
    let command = process::fork()?;
    if command == 0 {
        process::react_to_all(Reaction::Default);
        leading.write_all(&process::own()?.to_ne_bytes());
        set_apart(streams, verdict)?;
        return Ok(program::become_it(asked));
    }
    // The connection and the streams are others'; but a terminal is there until the command's end, also
    // where that has it closed for a while.
    if on_terminal {
        streams[0].become_stream(0)?;
    }
    process::close_from(on_terminal.into())?;
    let status = process::wait(command)?;
    if on_terminal {
        // What the command has left goes on, as it does behind pipes.
        let _ = process::spare_foreground(&File::standard_input());
    }
    Ok(process::shell_status(status))
}

/// Makes this process one that has nothing of the agent's but what it was given.
fn set_apart(streams: &[File; 3], verdict: Option<&Verdict>) -> Result<(), Errno> {
    for (number, stream) in streams.iter().enumerate() {
        stream.become_stream(number)?;
    }
    let mut given = streams.len();
    if let Some(verdict) = verdict {
        verdict.hand_over()?;
        given += 1;
    }
    process::close_from(given)?;
    // The guest may be without /proc by now.
    let _ = process::be_worth(&Worth::Command);
    Ok(())
}
