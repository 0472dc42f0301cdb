//! A command's standard streams: pipes, or a pseudoterminal (pty(7)).

use crate::system::{Errno, File, INVALID, Path, READ_WRITE};

/// The ends of all three.
pub struct Streams {
    /// The command's, in the order of their numbers.
    pub its: [File; 3],
    pub input: File,
    pub outputs: [Option<File>; 2],
}

/// The terminal that a command is to have.
pub struct Terminal {
    size: Size,
    /// Whether its errors are no part of what it shows.
    errors_apart: bool,
}

/// A terminal's size, as the kernel takes it (`struct winsize`): rows and columns in characters, then
/// both in pixels, of which nobody knows.
pub struct Size([u16; 4]);

impl Streams {
    /// Those of a command with or without a terminal. Its input never waits, nor does a terminal.
    pub fn open(terminal: Option<&Terminal>) -> Result<Self, Errno> {
        let this = match terminal {
            Some(terminal) => Self::terminal(terminal)?,
            None => Self::pipes()?,
        };
        // Whoever it becomes may open them anew.
        this.its.iter().try_for_each(File::allow_all)?;
        this.input.never_wait()?;
        Ok(this)
    }

    fn pipes() -> Result<Self, Errno> {
        let (its_input, input) = File::pipe()?;
        let (output, its_output) = File::pipe()?;
        let (error, its_error) = File::pipe()?;
        let outputs = [Some(output), Some(error)];
        Ok(Self { its: [its_input, its_output, its_error], input, outputs })
    }

    fn terminal(terminal: &Terminal) -> Result<Self, Errno> {
        let (ours, its) = open_terminal()?;
        terminal.size.set(&ours)?;
        let (error, its_error) = match terminal.errors_apart {
            true => File::pipe().map(|(error, its)| (Some(error), its))?,
            false => (None, its.copy()?),
        };
        let input = ours.copy()?;
        Ok(Self { its: [its.copy()?, its, its_error], input, outputs: [Some(ours), error] })
    }
}

impl Terminal {
    /// The first is parsed off: size, and a byte that is 1 where errors are apart.
    pub fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (size, rest) = bytes.split_at_checked(Size::LENGTH)?;
        let (apart, rest) = rest.split_first()?;
        Some((Self { size: Size::parse(size)?, errors_apart: *apart == 1 }, rest))
    }
}

impl Size {
    const LENGTH: usize = 4;

    /// Rows and columns, two bytes each.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks() else { return None };
        let [rows, columns] = *numbers else { return None };
        Some(Self([u16::from_le_bytes(rows), u16::from_le_bytes(columns), 0, 0]))
    }

    /// Gives a terminal this size; who is on it is told.
    pub fn set(&self, terminal: &File) -> Result<(), Errno> {
        const TIOCSWINSZ: usize = 0x5414;
        terminal.ioctl(TIOCSWINSZ, self.0.as_ptr() as usize).map(drop)
    }
}

/// A new pseudoterminal: our end and the command's.
fn open_terminal() -> Result<(File, File), Errno> {
    const TIOCSPTLCK: usize = 0x4004_5431;
    const TIOCGPTPEER: usize = 0x5441;
    /// Not the terminal of who opens it.
    const NOBODYS: usize = 0o400;
    let path = Path::new(&[b"/dev/ptmx"]).ok_or(INVALID)?;
    let ours = File::open(&path, READ_WRITE | NOBODYS, 0)?;
    let unlocked = 0_i32;
    ours.ioctl(TIOCSPTLCK, (&raw const unlocked) as usize)?;
    let its = ours.opened_by(TIOCGPTPEER, READ_WRITE | NOBODYS)?;
    // One that erases whole characters of UTF-8: a flag of input.
    const IUTF8: u8 = 0x40;
    its.change_terminal(|termios| termios[1] |= IUTF8);
    Ok((ours, its))
}
