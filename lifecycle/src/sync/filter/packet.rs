//! The forms of packets, of version 3 of the protocol (draft-ietf-secsh-filexfer-02) and OpenSSH's
//! extensions: what a request allows for an answer, and whether an answer holds what it says.

use super::{LONGEST, MOST_NAMES, SHORTEST, ServerFault};

/// Types of packets.
pub(super) const INIT: u8 = 1;
const OPEN: u8 = 3;
const READ: u8 = 5;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const READLINK: u8 = 19;
const EXTENDED: u8 = 200;
const VERSION: u8 = 2;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
pub(super) const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED_REPLY: u8 = 201;

/// The extended request for the server's limits.
const LIMITS: &[u8] = b"limits@openssh.com";

/// The least that a server has to take and give at once, in bytes: the standard demands 32 KiB, and
/// with much less a transfer would not end.
const LEAST: u64 = 1024;

/// What answers a request may have; each may also have a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Status,
    Handle,
    /// So many bytes at most.
    Data(u32),
    Names,
    Attributes,
    Limits,
    Extended,
}

impl Expected {
    /// What a request allows, by its type and all that follows its number, or the beginning of that.
    pub(super) fn of(kind: u8, rest: &[u8]) -> Self {
        match kind {
            OPEN | OPENDIR => Self::Handle,
            // Its last field.
            READ => Self::Data(rest.last_chunk().map_or(0, |asked| u32::from_be_bytes(*asked))),
            READDIR | READLINK | REALPATH => Self::Names,
            LSTAT | FSTAT | STAT => Self::Attributes,
            EXTENDED if Fields(rest).text() == Some(LIMITS) => Self::Limits,
            EXTENDED => Self::Extended,
            _ => Self::Status,
        }
    }

    /// Whether it may be answered by that type.
    pub(super) fn allows(self, kind: u8) -> Result<(), ServerFault> {
        let (allowed, expected) = match self {
            Self::Status => (STATUS, "a status"),
            Self::Handle => (HANDLE, "a handle"),
            Self::Data(_) => (DATA, "data"),
            Self::Names => (NAME, "names"),
            Self::Attributes => (ATTRS, "attributes"),
            Self::Limits | Self::Extended => (EXTENDED_REPLY, "an extended reply"),
        };
        if kind == allowed || kind == STATUS {
            return Ok(());
        }
        Err(ServerFault::Type { kind, expected })
    }
}

/// Whether a packet's length is one.
pub(super) fn check_length(length: u32) -> Result<(), ServerFault> {
    if (SHORTEST..=LONGEST).contains(&length) {
        return Ok(());
    }
    Err(ServerFault::Length { length })
}

/// Whether data is no more than was asked for, and fills its packet.
pub(super) fn check_data(sent: u32, length: u32, asked: u32) -> Result<(), ServerFault> {
    if length.checked_sub(SHORTEST + 4) != Some(sent) {
        return Err(ServerFault::Malformed { what: "data" });
    }
    if sent > asked {
        return Err(ServerFault::Data { sent, asked });
    }
    Ok(())
}

/// Whether a server's version holds what it says. `packet` has no length field.
pub(super) fn check_version(packet: &[u8]) -> Result<(), ServerFault> {
    let mut fields = Fields(packet);
    let kind = fields.byte().unwrap_or_default();
    if kind != VERSION {
        return Err(ServerFault::Type { kind, expected: "its version" });
    }
    let extensions = |fields: &mut Fields<'_>| {
        fields.number()?;
        while !fields.0.is_empty() {
            fields.text()?;
            fields.text()?;
        }
        Some(())
    };
    extensions(&mut fields).ok_or(ServerFault::Malformed { what: "a version" })
}

/// Whether any other packet holds what it says. `body` is what follows its number.
pub(super) fn check_body(kind: u8, body: &[u8], expected: Expected) -> Result<(), ServerFault> {
    let mut fields = Fields(body);
    let (whole, what) = match kind {
        STATUS => (fields.status(), "a status"),
        HANDLE => (fields.text().map(drop), "a handle"),
        NAME => {
            let count = fields.number().unwrap_or_default();
            if count > MOST_NAMES || count as usize > fields.0.len() / Fields::SHORTEST_NAME {
                return Err(ServerFault::Names { count, length: body.len() });
            }
            ((0..count).try_for_each(|_| fields.name()), "a name")
        }
        ATTRS => (fields.attributes(), "attributes"),
        _ if expected == Expected::Limits => return check_limits(fields),
        _ => (Some(()), "a reply"),
    };
    whole.ok_or(ServerFault::Malformed { what })
}

fn check_limits(mut fields: Fields<'_>) -> Result<(), ServerFault> {
    let mut limits = || Some((fields.long()?, fields.long()?, fields.long()?, fields.long()?));
    let (packet, read, write, _handles) =
        limits().ok_or(ServerFault::Malformed { what: "limits" })?;
    // None is no limit, but of the packet: the client takes that at its word.
    let too_little = |limit: u64| (1..LEAST).contains(&limit);
    if packet < LEAST || too_little(read) || too_little(write) {
        return Err(ServerFault::Limits { packet, read, write, least: LEAST });
    }
    Ok(())
}

/// The fields of a packet, one after the other; `None` where one reaches past the end.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Two empty texts and attributes without any.
    const SHORTEST_NAME: usize = 12;

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.bytes(usize::try_from(length).ok()?)
    }

    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn status(&mut self) -> Option<()> {
        self.number()?;
        self.text()?;
        self.text().map(drop)
    }

    fn name(&mut self) -> Option<()> {
        self.text()?;
        self.text()?;
        self.attributes()
    }

    fn attributes(&mut self) -> Option<()> {
        const LENGTHS: [(u32, usize); 4] = [(1, 8), (2, 8), (4, 4), (8, 8)];
        const MORE: u32 = 1 << 31;
        let flags = self.number()?;
        for (_, length) in LENGTHS.into_iter().filter(|(flag, _)| flags & flag != 0) {
            self.bytes(length)?;
        }
        if flags & MORE != 0 {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        Some(())
    }
}
