//! Commands, one at a time: started as the host asks, with their streams carried over one
//! connection.
//!
//! ```text
//! host:  run 1 "/ ∅ PATH=/bin ∅ ∅ true ∅"  input 1 (end)    guest: output 1 (end)  status 1 0
//! ```
//!
//! A frame is three numbers of four bytes, little-endian: its kind, the command's number, and how many
//! bytes follow. Output and input without bytes are at their end. Of input there is one frame under way
//! at a time, so that a signal is never behind input that the command does not read. A command that is
//! still there when the next one comes is killed.

use crate::process::{self, INTERRUPT, KILL, PIPE, QUIT, Reaction, Worth};
use crate::program;
use crate::system::{self, Errno, File, INVALID, Poll};

/// What the host says.
mod said {
    /// To start a [program](crate::program).
    pub const RUN: u32 = 1;
    /// What it reads.
    pub const INPUT: u32 = 2;
    /// To signal its process group; the number in one byte.
    pub const SIGNAL: u32 = 3;
    /// Nobody reads one of its streams any more: 1 or 2, in one byte.
    pub const CLOSE: u32 = 4;
}

/// What we say.
mod told {
    pub const OUTPUT: u32 = 1;
    pub const ERROR: u32 = 2;
    /// That input was passed on, or that nobody reads it.
    pub const TAKEN: u32 = 3;
    /// How the command ended: its wait status in four bytes.
    pub const STATUS: u32 = 4;
}

/// Bytes before those that follow.
const HEAD: usize = 12;

/// How long a program with its variables and arguments may be.
const LONGEST: usize = 256 << 10;

/// How many bytes of a stream are in a frame at most.
const PIECE: usize = 32 << 10;

/// Standard output and error, in the order of their numbers.
const OUTPUTS: [u32; 2] = [told::OUTPUT, told::ERROR];

/// Not now (EAGAIN).
const AGAIN: Errno = 11;

/// The other side is gone (ECONNRESET).
pub const GONE: Errno = 104;

/// Serves commands until the connection ends, which is [`GONE`], or something fails.
pub fn serve(connection: &File) -> Result<(), Errno> {
    connection.never_wait()?;
    process::react(PIPE, Reaction::Ignore)?;
    let mut inbox = Inbox { bytes: [0; HEAD + LONGEST], length: 0 };
    let mut outbox = Outbox { bytes: [0; HEAD + PIECE], sent: 0, length: 0 };
    let mut command = Command::none();
    loop {
        let mut ready = command.ready(connection, &outbox)?;
        if ready.connection.is_ready() {
            if ready.connection.is_readable() {
                inbox.receive(connection)?;
                while let Some(frame) = inbox.frame()? {
                    command.obey(&frame, &inbox.bytes[HEAD..HEAD + frame.length])?;
                    inbox.forget(&frame);
                }
                // What was waited for may be of a command that is not there any more.
                ready.command = [const { Poll::nothing() }; 4];
            }
            outbox.send(connection)?;
        }
        if outbox.is_empty() {
            command.tell(&ready, &mut outbox)?;
        }
    }
}

/// A frame's numbers.
struct Frame {
    kind: u32,
    command: u32,
    length: usize,
}

/// What has come from the host.
struct Inbox {
    bytes: [u8; HEAD + LONGEST],
    length: usize,
}

impl Inbox {
    fn receive(&mut self, connection: &File) -> Result<(), Errno> {
        match connection.read(&mut self.bytes[self.length..]) {
            Ok(0) => Err(GONE),
            Ok(read) => {
                self.length += read;
                Ok(())
            }
            Err(AGAIN) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The first frame, once all of it is there.
    fn frame(&self) -> Result<Option<Frame>, Errno> {
        if self.length < HEAD {
            return Ok(None);
        }
        let (numbers, _) = self.bytes[..HEAD].as_chunks::<4>();
        let [kind, command, length] = [0, 1, 2].map(|at| u32::from_le_bytes(numbers[at]));
        let length = length as usize;
        if length > LONGEST {
            return Err(INVALID);
        }
        let whole = self.length >= HEAD + length;
        Ok(whole.then_some(Frame { kind, command, length }))
    }

    fn forget(&mut self, frame: &Frame) {
        let end = HEAD + frame.length;
        self.bytes.copy_within(end..self.length, 0);
        self.length -= end;
    }
}

/// A frame on its way to the host.
struct Outbox {
    bytes: [u8; HEAD + PIECE],
    sent: usize,
    length: usize,
}

impl Outbox {
    fn is_empty(&self) -> bool {
        self.sent == self.length
    }

    /// Where a frame's bytes go before it is [put](Self::put).
    fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[HEAD..]
    }

    fn put(&mut self, kind: u32, command: u32, length: usize) {
        let numbers = [kind, command, length as u32];
        let (head, _) = self.bytes[..HEAD].as_chunks_mut::<4>();
        for (bytes, number) in head.iter_mut().zip(numbers) {
            *bytes = number.to_le_bytes();
        }
        (self.sent, self.length) = (0, HEAD + length);
    }

    fn send(&mut self, connection: &File) -> Result<(), Errno> {
        if self.is_empty() {
            return Ok(());
        }
        match connection.write(&self.bytes[self.sent..self.length]) {
            Ok(written) => self.sent += written,
            Err(AGAIN) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// What is ready.
struct Ready {
    connection: Poll,
    /// Its input, its outputs, and its end.
    command: [Poll; 4],
}

/// The command under way, or the last one.
struct Command {
    number: u32,
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
        let mut polls = [
            connection.when(Poll::READABLE | sending),
            feeding,
            reading(one),
            reading(two),
            reading(&self.end),
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
            said::RUN => {
                self.end()?;
                (self.number, self.input, self.outputs) = (frame.command, None, [None, None]);
                (self.from, self.to, self.owed, self.end) = (0, 0, false, None);
                // The guest may have no room for one more process.
                self.missed = self.start(bytes).is_err();
                Ok(())
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
                let signal = *bytes.first().ok_or(INVALID)?;
                // Nobody of the group may be left.
                let _ = process::kill(-(self.process as isize), signal.into());
                Ok(())
            }
            said::CLOSE => {
                let stream = *bytes.first().ok_or(INVALID)?;
                *self.outputs.get_mut(usize::from(stream) - 1).ok_or(INVALID)? = None;
                Ok(())
            }
            _ => Err(INVALID),
        }
    }

    /// Ends it, if it has not ended yet.
    fn end(&mut self) -> Result<(), Errno> {
        if self.end.is_some() {
            let _ = process::kill(-(self.process as isize), KILL);
            process::wait(self.process)?;
        }
        Ok(())
    }

    fn start(&mut self, asked: &[u8]) -> Result<(), Errno> {
        let (its_input, input) = File::pipe()?;
        let (output, its_output) = File::pipe()?;
        let (error, its_error) = File::pipe()?;
        input.never_wait()?;
        // By the time that it can be signalled, it leads its group.
        let process = process::fork_and_wait()?;
        if process == 0 {
            let streams = [&its_input, &its_output, &its_error];
            let status = set_apart(streams).map(|()| program::become_it(asked));
            process::exit(status.unwrap_or(NOT_STARTED as usize));
        }
        (self.process, self.end) = (process, Some(File::process(process)?));
        (self.input, self.outputs) = (Some(input), [Some(output), Some(error)]);
        Ok(())
    }

    /// Moves what is ready; at most one frame is put into the outbox.
    fn tell(&mut self, ready: &Ready, outbox: &mut Outbox) -> Result<(), Errno> {
        let [feeding, outputs @ .., end] = &ready.command;
        if feeding.is_ready() {
            self.feed();
        }
        if self.owed && (self.from == self.to || self.input.is_none()) {
            (self.from, self.to, self.owed) = (0, 0, false);
            outbox.put(told::TAKEN, self.number, 0);
            return Ok(());
        }
        for ((ready, stream), kind) in outputs.iter().zip(&mut self.outputs).zip(OUTPUTS) {
            let Some(file) = stream.as_ref().filter(|_| ready.is_ready()) else { continue };
            let read = file.read(outbox.room())?;
            if read == 0 {
                *stream = None;
            }
            outbox.put(kind, self.number, read);
            return Ok(());
        }
        if self.missed || (end.is_ready() && self.end.take().is_some()) {
            let status = match core::mem::take(&mut self.missed) {
                true => NOT_STARTED << 8,
                false => process::wait(self.process)?,
            };
            let status = status.to_le_bytes();
            outbox.room()[..status.len()].copy_from_slice(&status);
            outbox.put(told::STATUS, self.number, status.len());
        }
        Ok(())
    }

    /// Passes input on; where nobody reads it, there is no more.
    fn feed(&mut self) {
        let Some(input) = &self.input else { return };
        match input.write(&self.unread[self.from..self.to]) {
            Ok(written) => self.from += written,
            Err(AGAIN) => {}
            Err(_) => self.input = None,
        }
    }
}

/// The status of a command for which there is no process, as shells have it for what they cannot start.
const NOT_STARTED: i32 = 126;

/// Makes this process one that has nothing of the agent's.
fn set_apart(streams: [&File; 3]) -> Result<(), Errno> {
    process::lead_session()?;
    for (number, stream) in streams.into_iter().enumerate() {
        stream.become_stream(number)?;
    }
    for signal in [INTERRUPT, QUIT, PIPE] {
        process::react(signal, Reaction::Default)?;
    }
    process::be_worth(&Worth::Command)
}
