//! Commands, one at a time: started as the host asks, with their streams carried over one
//! connection.
//!
//! ```text
//! host:  run 1 "/ ∅ PATH=/bin ∅ ∅ true ∅"  input 1 (end)    guest: output 1 (end)  status 1 0
//! ```
//!
//! One that was asked for a verdict has that told with its status.
//!
//! Output and input without bytes are at their end. Of input there is one frame under way
//! at a time, so that a signal is never behind input that the command does not read. A command that is
//! still there when the next one comes is killed.

use crate::frames::{Frame, Inbox, Outbox, PIECE, said, told};
use crate::leader;
use crate::process::{self, CONTINUE, HANG_UP, KILL};
use crate::program::{self, CANNOT};
use crate::streams::{Size, Streams, Terminal};
use crate::system::{self, AGAIN, Errno, File, INVALID, Poll};
use crate::verdict::Verdict;

/// Standard output and error, in the order of their numbers.
const OUTPUTS: [u32; 2] = [told::OUTPUT, told::ERROR];

/// How many bytes a wait status has.
const STATUS: usize = size_of::<i32>();

/// Ctrl-D, as terminals have it where nobody says otherwise.
const END_OF_INPUT: u8 = 4;

/// Serves commands until the connection ends, or something fails.
pub fn serve(connection: &File) -> Result<(), Errno> {
    connection.never_wait()?;
    let mut inbox = Inbox::new();
    let mut outbox = Outbox::new();
    let mut command = Command::none();
    loop {
        let step = step(connection, &mut inbox, &mut outbox, &mut command);
        if step.is_err() {
            command.hang_up();
            return step;
        }
    }
}

/// Waits until something is to be done, and does it.
fn step(
    connection: &File,
    inbox: &mut Inbox,
    outbox: &mut Outbox,
    command: &mut Command,
) -> Result<(), Errno> {
    let mut ready = command.ready(connection, outbox)?;
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
        command.tell(&ready, outbox)?;
    }
    Ok(())
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
    /// `None` where none is asked for, or it was told.
    verdict: Option<Verdict>,
    /// Whether its input and its first output are a terminal.
    on_terminal: bool,
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
            verdict: None,
            on_terminal: false,
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
            said::RUN => self.replace(frame.command, bytes, None, false),
            said::RUN_FOR_VERDICT => self.replace(frame.command, bytes, None, true),
            said::RUN_ON_TERMINAL => {
                let (terminal, program) = Terminal::parse(bytes).ok_or(INVALID)?;
                self.replace(frame.command, program, Some(&terminal), false)
            }
            // It is of a command that is over.
            _ if frame.command != self.number => Ok(()),
            // What ends a terminal's input is a key.
            said::INPUT if bytes.is_empty() && self.on_terminal => {
                (self.unread[0], self.from, self.to) = (END_OF_INPUT, 0, 1);
                Ok(())
            }
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
                let stream = usize::from(*bytes.first().ok_or(INVALID)?);
                *self.outputs.get_mut(stream - 1).ok_or(INVALID)? = None;
                if stream == 1 && self.on_terminal {
                    self.input = None;
                }
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

    /// Tells one that is on a terminal that nobody is there any more; the kernel tells its leader only.
    fn hang_up(&self) {
        if self.on_terminal && self.end.is_some() {
            self.signal(HANG_UP);
            self.signal(CONTINUE);
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
        for_verdict: bool,
    ) -> Result<(), Errno> {
        self.end()?;
        (self.number, self.input, self.outputs) = (number, None, [None, None]);
        (self.from, self.to, self.owed) = (0, 0, false);
        self.verdict = None;
        self.on_terminal = terminal.is_some();
        // The guest may have no room for one more process.
        if let Err(error) = self.start(asked, terminal, for_verdict) {
            self.missed = true;
            self.outputs = program::complaint(error).unwrap_or([None, None]);
        }
        Ok(())
    }

    fn start(
        &mut self,
        asked: &[u8],
        terminal: Option<&Terminal>,
        for_verdict: bool,
    ) -> Result<(), Errno> {
        let Streams { its, input, outputs } = Streams::open(terminal)?;
        let verdict = if for_verdict { Some(Verdict::new()?) } else { None };
        let (leads, leading) = File::pipe()?;
        let leader = process::fork()?;
        if leader == 0 {
            let status = leader::lead(asked, &its, verdict.as_ref(), leading, terminal.is_some());
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
        (self.input, self.outputs, self.verdict) = (Some(input), outputs, verdict);
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
        if !self.missed && (!end.is_ready() || self.end.is_none()) {
            return Ok(());
        }
        // Before the end of the verdict there is room for the status, so that both are told at once.
        let room = &mut outbox.room()[STATUS..];
        let read = self.verdict.as_mut().map_or(0, |verdict| verdict.read(room));
        if self.verdict.as_ref().is_some_and(Verdict::goes_on) {
            outbox.room().copy_within(STATUS..STATUS + read, 0);
            outbox.put(told::VERDICT, self.number, read);
            return Ok(());
        }
        (self.end, self.verdict) = (None, None);
        let status = match core::mem::take(&mut self.missed) {
            true => (CANNOT << 8) as i32,
            false => process::wait(self.leader)?,
        };
        outbox.room()[..STATUS].copy_from_slice(&status.to_le_bytes());
        outbox.put(told::STATUS, self.number, STATUS + read);
        Ok(())
    }

    /// Passes input on; where nobody reads it, there is no more.
    fn feed(&mut self, ready: &Ready) {
        let [feeding, ..] = &ready.command;
        let Some(input) = self.input.as_ref().filter(|_| feeding.is_ready()) else { return };
        match input.write(&self.unread[self.from..self.to]) {
            Ok(written) => self.from += written,
            Err(AGAIN) if !feeding.is_hung_up() => {}
            Err(_) => self.input = None,
        }
    }
}
