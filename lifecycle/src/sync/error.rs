//! Why files did not travel, and what the user can do about it.

use std::io;
use std::path::{Path, PathBuf};

use openssh_sftp_client::error::{Error as SftpError, SftpErrorKind};

use super::filter::ServerFault;

/// How much of a server's own words is passed on, in characters.
const LONGEST_STATUS: usize = 200;

/// Why a scan, a push or a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// A file or directory on the host cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The host path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An ignore file cannot be obeyed, so that too much might be sent.
    #[error("cannot obey the ignore file `{}`", path.display())]
    IgnoreFile {
        /// The host path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Directories stand in each other without end.
    #[error("`{}` is too deep: {limit} directories may stand in each other", path.display())]
    TooDeep {
        /// The start of the host path.
        path: PathBuf,
        /// How many may.
        limit: usize,
    },
    /// A tree holds too many files and directories.
    #[error("`{}` holds more than {limit} files and directories", path.display())]
    TooMany {
        /// The host path.
        path: PathBuf,
        /// How many it may hold.
        limit: usize,
    },
    /// A tree holds more than a workspace disk does.
    #[error("with `{}` the files to send have more than {limit} GiB", path.display())]
    TooLarge {
        /// The file that was one too many.
        path: PathBuf,
        /// How much they may have, in GiB.
        limit: u64,
    },
    /// A file or directory on the host cannot be written.
    #[error("cannot write `{}`", path.display())]
    Unwritable {
        /// The host path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name, or the target of a symbolic link, cannot be put in an SFTP message.
    #[error("cannot send {path:?}: its name or its link target is not UTF-8")]
    NotUtf8 {
        /// The host path, relative to its root.
        path: PathBuf,
    },
    /// The guest's SFTP server refused a request.
    #[error("cannot {action} `{}` in the guest: {status}", path.display())]
    Guest {
        /// What was asked, as a verb: `write`.
        action: &'static str,
        /// The guest path.
        path: PathBuf,
        /// The status the server gave.
        status: String,
    },
    /// The guest's disk has no space or no inodes left.
    #[error("no space left in the guest for `{}`", path.display())]
    GuestFull {
        /// The guest path.
        path: PathBuf,
    },
    /// The SFTP session broke.
    #[error("lost the SFTP session while trying to {action} `{}` in the guest", path.display())]
    Session {
        /// What was asked, as a verb.
        action: &'static str,
        /// The guest path.
        path: PathBuf,
        /// What the client reports.
        #[source]
        source: Box<SftpError>,
    },
    /// The guest's SFTP server did what no honest one does.
    #[error(transparent)]
    Server(#[from] ServerFault),
    /// No SFTP session came about.
    #[error("cannot open an SFTP session with the guest")]
    Opening(#[source] Box<SftpError>),
    /// The SFTP session broke at its end.
    #[error("lost the SFTP session with the guest at its end")]
    Closing(#[source] Box<SftpError>),
    /// There is more content than may be fetched.
    #[error("`{}` in the guest holds more than {} ({most} bytes)", path.display(), size(*most))]
    FetchTooLarge {
        /// The guest path that was to be fetched.
        path: PathBuf,
        /// How many bytes there may be.
        most: u64,
    },
    /// There are more files than may be fetched.
    #[error("`{}` in the guest has more than {most} files, directories and links", path.display())]
    FetchTooMany {
        /// The guest path.
        path: PathBuf,
        /// How many there may be.
        most: u64,
    },
    /// Its directories are too deep.
    #[error("`{}` in the guest is more than {most} directories deep", path.display())]
    FetchTooDeep {
        /// The guest path.
        path: PathBuf,
        /// How deep it may be.
        most: u32,
    },
    /// The names of all files together are too long.
    #[error("the names of the files in `{}` in the guest have more than {most} bytes together", path.display())]
    NamesTooLong {
        /// The guest path.
        path: PathBuf,
        /// How many there may be.
        most: u64,
    },
    /// The host's disk would have too little left.
    #[error(
        "cannot write `{}`: {} free on its disk, and {} are to stay free",
        path.display(), size(*free), size(*least)
    )]
    HostFull {
        /// The host path.
        path: PathBuf,
        /// How many bytes are free.
        free: u64,
        /// How many have to stay free.
        least: u64,
    },
    /// The way to a host path passes a link.
    #[error("`{}` is a symbolic link: none is followed to where files are fetched to", path.display())]
    HostLink {
        /// The link.
        path: PathBuf,
        /// Where the whole path leads by way of it, if anywhere.
        leads: Option<PathBuf>,
    },
    /// What is to be fetched is a link that leads elsewhere.
    #[error("`{}` in the guest is a symbolic link to `{}`", path.display(), target.display())]
    GuestLink {
        /// The guest path.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// There is no such file in the guest.
    #[error("`{}` does not exist in the guest", path.display())]
    Missing {
        /// The guest path.
        path: PathBuf,
    },
    /// The guest offered something that must not be written to the host.
    #[error("refused {path:?} from the guest: {reason}")]
    Refused {
        /// The guest path as offered.
        path: PathBuf,
        /// Why, as a lower-case fragment.
        reason: &'static str,
    },
    /// The host has something at a path that a fetched file would replace, and must not.
    #[error("cannot put {wanted} at `{}`: {found} is there", path.display())]
    InTheWay {
        /// The host path.
        path: PathBuf,
        /// What is there.
        found: &'static str,
        /// What was to be put there.
        wanted: &'static str,
    },
}

impl SyncError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unreadable { .. } => {
                "make it readable, or leave it out by a line in `.bangerignore`"
            }
            Self::IgnoreFile { .. } => {
                "it has to be a regular file, not a link, of at most 1 MiB: replace or remove it"
            }
            Self::TooDeep { .. } | Self::TooMany { .. } | Self::TooLarge { .. } => {
                "leave out what is not needed by a line in `.bangerignore`"
            }
            Self::NotUtf8 { .. } => "rename it, or leave it out by a line in `.bangerignore`",
            Self::GuestFull { .. } => {
                "`--workspace-size` gives it a larger disk; a line in `.bangerignore` leaves large files out"
            }
            Self::Session { action: "list", .. } => {
                "names that are not UTF-8 cannot be fetched: pack them with tar in the guest"
            }
            Self::InTheWay { .. } => "move it away, or name another target",
            Self::FetchTooLarge { .. } => "the setting `fetch-limit` allows more",
            Self::FetchTooMany { .. } => "the setting `fetch-entries` allows more",
            Self::HostFull { .. } => "make room there, or name a target on another disk",
            Self::HostLink { leads: Some(leads), .. } => {
                return Some(format!("give the path that it leads to: `{}`", leads.display()));
            }
            Self::GuestLink { .. } => {
                "name what it leads to, or fetch the link itself with `--out-links`"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }

    /// A failed request to the guest.
    pub(super) fn guest(action: &'static str, path: &Path, error: SftpError) -> Self {
        let path = path.to_owned();
        match error {
            SftpError::SftpError(kind, message) => {
                let text: String = message.get().0.trim().chars().take(LONGEST_STATUS).collect();
                let status = if text.is_empty() { format!("{kind:?}") } else { text };
                Self::Guest { action, path, status }
            }
            other => Self::Session { action, path, source: Box::new(other) },
        }
    }

    /// A directory that lies too deep, by the start of its path.
    pub(super) fn too_deep(path: &Path, limit: usize) -> Self {
        /// More of it would fill the screen, and say nothing.
        const SHOWN: usize = 8;
        let mut start: PathBuf = path.components().take(SHOWN).collect();
        start.push("…");
        Self::TooDeep { path: start, limit }
    }

    /// A host path that could not be written.
    pub(super) fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Unwritable { path: path.to_owned(), source }
    }

    /// A host path that could not be read.
    pub(super) fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Unreadable { path: path.to_owned(), source }
    }
}

/// A number of bytes, to read.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let unit = bytes.checked_ilog2().map_or(0, |bits| bits as usize / 10).min(UNITS.len());
    match unit {
        0 => format!("{bytes} bytes"),
        unit => format!("{} {}", bytes >> (10 * unit), UNITS[unit - 1]),
    }
}

/// Whether the server says that there is no such file.
pub(super) fn is_missing(error: &SftpError) -> bool {
    matches!(error, SftpError::SftpError(SftpErrorKind::NoSuchFile, _))
}

/// Whether the server says that permission is denied.
pub(super) fn is_denied(error: &SftpError) -> bool {
    matches!(error, SftpError::SftpError(SftpErrorKind::PermDenied, _))
}

/// Whether the server gave its catch-all status: "exists already", "not empty", "no space".
pub(super) fn is_failure(error: &SftpError) -> bool {
    matches!(error, SftpError::SftpError(SftpErrorKind::Failure, _))
}
