//! Commands, one at a time: started as the host asks, with their streams carried over one
//! connection.
//!
//! ```text
//! host:  run 1 "/ ∅ PATH=/bin ∅ ∅ true ∅"  input 1 (end)    guest: output 1 (end)  status 1 0
//! ```
//!
//! Output and input without bytes are at their end. Of input there is one frame under way
//! at a time, so that a signal is never behind input that the command does not read. A command that is
//! still there when the next one comes is killed.

use crate::frames::{Frame, Inbox, Outbox, PIECE, said, told};
use crate::process::{self, KILL, Reaction, Worth};
use crate::program::{self, CANNOT};
use crate::streams::{Size, Streams, Terminal};
use crate::system::{self, AGAIN, Errno, File, INVALID, Poll};

/// Standard output and error, in the order of their numbers.
const OUTPUTS: [u32; 2] = [told::OUTPUT, told::ERROR];

/// Serves commands until the connection ends, or something fails.
pub fn serve(connection: &File) -> Result<(), Errno> {
    connection.never_wait()?;
    let mut inbox = Inbox::new();
    let mut outbox = Outbox::new();
    let mut command = Command::none();
    loop {
        let mut ready = command.ready(connection, &outbox)?;
        if ready.connection.is_ready() {
            if ready.connection.is_readable() {
                inbox.receive(connection)?;
                while let Some(frame) = inbox.frame()? {
                    command.obey(&frame, inbox.bytes_of(&frame))?;
                    inbox.forget(&frame);
                }
                // What was waited for may be of a command that is not there any more.
                ready.command = [const { Poll::nothing() }; 4];
            }
            outbox.send(connection)?;
        }
        command.feed(&ready);
        if outbox.is_empty() {
            command.tell(&ready, &mut outbox)?;
        }
    }
}

/// What is ready.
struct Ready {
    connection: Poll,
    /// Its input, its end, and its outputs.
    command: [Poll; 4],
}

/// The command under way, or the last one.
struct Command {
    number: u32,
    /// Its leader's process, and its own; 0 where there is none.
    leader: usize,
    process: usize,
    /// Readable when it has ended; `None` once that was told.
    end: Option<File>,
    input: Option<File>,
    outputs: [Option<File>; 2],
    /// What it has not read yet, and whether the host waits for that.
    unread: [u8; PIECE],
    from: usize,
    to: usize,
    owed: bool,
    /// Whether it could not be started, and that was not told.
    missed: bool,
}

impl Command {
    const fn none() -> Self {
        Self {
            number: 0,
            leader: 0,
            process: 0,
            end: None,
            input: None,
            outputs: [None, None],
            unread: [0; PIECE],
            from: 0,
            to: 0,
            owed: false,
            missed: false,
        }
    }

    /// Waits until something is to be done.
    fn ready(&self, connection: &File, outbox: &Outbox) -> Result<Ready, Errno> {
        let free = outbox.is_empty();
        let sending = if free { 0 } else { Poll::WRITABLE };
        let reading = |file: &Option<File>| match file {
            Some(file) if free => file.when(Poll::READABLE),
            _ => Poll::nothing(),
        };
        let feeding = match &self.input {
            Some(input) if self.from < self.to => input.when(Poll::WRITABLE),
            _ => Poll::nothing(),
        };
        let [one, two] = &self.outputs;
        // The end is looked at before the outputs, so that all output is seen that came before it.
        let mut polls = [
            connection.when(Poll::READABLE | sending),
            feeding,
            reading(&self.end),
            reading(one),
            reading(two),
        ];
        // What is owed can be paid at once.
        let owes = self.missed || (self.owed && self.from == self.to);
        let patience = (free && owes).then_some(0);
        system::poll(&mut polls, patience)?;
        let [connection, command @ ..] = polls;
        Ok(Ready { connection, command })
    }

    /// Does what the host says.
    fn obey(&mut self, frame: &Frame, bytes: &[u8]) -> Result<(), Errno> {
        match frame.kind {
            said::RUN => self.replace(frame.command, bytes, None),
            said::RUN_ON_TERMINAL => {
                let (terminal, program) = Terminal::parse(bytes).ok_or(INVALID)?;
                self.replace(frame.command, program, Some(&terminal))
            }
            // It is of a command that is over.
            _ if frame.command != self.number => Ok(()),
            said::INPUT if bytes.is_empty() => {
                self.input = None;
                Ok(())
            }
            said::INPUT => {
                self.unread.get_mut(..bytes.len()).ok_or(INVALID)?.copy_from_slice(bytes);
                (self.from, self.to, self.owed) = (0, bytes.len(), true);
                Ok(())
            }
            said::SIGNAL => {
                self.signal((*bytes.first().ok_or(INVALID)?).into());
                Ok(())
            }
            said::CLOSE => {
                let stream = *bytes.first().ok_or(INVALID)?;
                *self.outputs.get_mut(usize::from(stream) - 1).ok_or(INVALID)? = None;
                Ok(())
            }
            said::SIZE => {
                let size = Size::parse(bytes).ok_or(INVALID)?;
                // What is no terminal, or is one no longer, has no size.
                let _ = self.outputs[0].as_ref().map(|output| size.set(output));
                Ok(())
            }
            _ => Err(INVALID),
        }
    }

    /// Signals its group, if there was one, and the one that it may have made for itself.
    fn signal(&self, signal: usize) {
        if self.leader == 0 {
            return;
        }
        let own = match process::group_of(self.process) {
            Ok(group) if self.process > 0 && self.end.is_some() => group,
            _ => self.leader,
        };
        // Nobody of a group may be left.
        let _ = process::kill(-(self.leader as isize), signal);
        if own != self.leader {
            let _ = process::kill(-(own as isize), signal);
        }
    }

    /// Ends it, if it has not ended yet. Its leader is never held up, whatever the command is about.
    fn end(&mut self) -> Result<(), Errno> {
        if self.end.is_some() {
            self.signal(KILL);
            process::wait(self.leader)?;
        }
        (self.leader, self.process, self.end) = (0, 0, None);
        Ok(())
    }

    /// Ends it, and starts another in its place.
    fn replace(
        &mut self,
        number: u32,
        asked: &[u8],
        terminal: Option<&Terminal>,
    ) -> Result<(), Errno> {
        self.end()?;
        (self.number, self.input, self.outputs) = (number, None, [None, None]);
        (self.from, self.to, self.owed) = (0, 0, false);
        // The guest may have no room for one more process.
        self.missed = self.start(asked, terminal).is_err();
        Ok(())
    }

    fn start(&mut self, asked: &[u8], terminal: Option<&Terminal>) -> Result<(), Errno> {
        let Streams { its, input, outputs } = Streams::open(terminal)?;
        let (leads, leading) = File::pipe()?;
        let leader = process::fork()?;
        if leader == 0 {
            let status = lead(asked, &its, leading, terminal.is_some());
            process::exit(status.unwrap_or(CANNOT));
        }
        // By the time that it can be signalled, it is there and minds what is sent to its group.
        drop(leading);
        let mut told = [0; size_of::<usize>()];
        leads.read(&mut told)?;
        (self.leader, self.process) = (leader, usize::from_ne_bytes(told));
        match File::process(leader) {
            Ok(end) => self.end = Some(end),
            Err(error) => {
                self.signal(KILL);
                process::wait(leader)?;
                (self.leader, self.process) = (0, 0);
                return Err(error);
            }
        }
        (self.input, self.outputs) = (Some(input), outputs);
        Ok(())
    }

    /// Moves what is ready; at most one frame is put into the outbox.
    fn tell(&mut self, ready: &Ready, outbox: &mut Outbox) -> Result<(), Errno> {
        let [_, end, outputs @ ..] = &ready.command;
        if self.owed && (self.from == self.to || self.input.is_none()) {
            (self.from, self.to, self.owed) = (0, 0, false);
            // A byte says that there is no use in more.
            outbox.put(told::TAKEN, self.number, self.input.is_none().into());
            return Ok(());
        }
        for ((ready, stream), kind) in outputs.iter().zip(&mut self.outputs).zip(OUTPUTS) {
            let Some(file) = stream.as_ref().filter(|_| ready.is_ready()) else { continue };
            let read = match file.read(outbox.room()) {
                Ok(read) => read,
                Err(AGAIN) => continue,
                // A terminal that nobody is on any more says that it fails.
                Err(_) => 0,
            };
            if read == 0 {
                *stream = None;
            }
            outbox.put(kind, self.number, read);
            return Ok(());
        }
        if self.missed || (end.is_ready() && self.end.take().is_some()) {
            let status = match core::mem::take(&mut self.missed) {
                true => (CANNOT << 8) as i32,
                false => process::wait(self.leader)?,
            };
            let status = status.to_le_bytes();
            outbox.room()[..status.len()].copy_from_slice(&status);
            outbox.put(told::STATUS, self.number, status.len());
        }
        Ok(())
    }

    /// Passes input on; where nobody reads it, there is no more.
    fn feed(&mut self, ready: &Ready) {
        let [feeding, ..] = &ready.command;
        let Some(input) = self.input.as_ref().filter(|_| feeding.is_ready()) else { return };
        match input.write(&self.unread[self.from..self.to]) {
            Ok(written) => self.from += written,
            Err(AGAIN) => {}
            Err(_) => self.input = None,
        }
    }
}

/// Leads the session and the group of a command, and waits for it: a command is no leader, which may
/// not do all that others may. Returns its status, as a shell has it.
fn lead(
    asked: &[u8],
    streams: &[File; 3],
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
        set_apart(streams)?;
        return Ok(program::become_it(asked));
    }
    // The connection and the streams are others'; but a terminal is there until the command's end, also
    // where that has it closed for a while.
    if on_terminal {
        streams[0].become_stream(0)?;
    }
    process::close_from(on_terminal.into())?;
    process::wait(command).map(process::shell_status)
}

/// Makes this process one that has nothing of the agent's.
fn set_apart(streams: &[File; 3]) -> Result<(), Errno> {
    for (number, stream) in streams.iter().enumerate() {
        stream.become_stream(number)?;
    }
    process::close_from(streams.len())?;
    // The guest may be without /proc by now.
    let _ = process::be_worth(&Worth::Command);
    Ok(())
}
