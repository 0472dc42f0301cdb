//! The release of Firecracker that banger is tried with: fetched, held against its checksums, and
//! put where banger finds it.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use flate2::read::GzDecoder;
use fs_err as fs;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::process::{ToolError, run_tool};
use crate::rundir::publish::publish;
use crate::rundir::{FileLock, Layout, private};

/// Its version.
pub const VERSION: &str = "1.12.1";

/// Where its releases are, each in a directory of its tag.
pub const MIRROR: &str = "https://github.com/firecracker-microvm/firecracker/releases/download";

/// Its programs, with their SHA-256 checksums, as the archive's `SHA256SUMS` has them.
const PROGRAMS: [Program; 2] = [
    Program {
        name: "firecracker",
        sha256: "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930",
    },
    Program {
        name: "jailer",
        sha256: "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
    },
];

/// A program that is at most this long is read into memory.
const LONGEST: u64 = 64 << 20;

/// What directories for fetching begin with.
const SCRATCH: &str = ".fetch-";

struct Program {
    name: &'static str,
    sha256: &'static str,
}

/// Why it is not installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// It could not be fetched.
    #[error("cannot fetch `{url}`")]
    Fetch {
        /// From where.
        url: String,
        /// Why.
        #[source]
        source: ToolError,
    },
    /// A program is not in the archive.
    #[error("`{0}` is not in the archive")]
    Incomplete(String),
    /// A program is another one.
    #[error("`{program}` has the checksum {found}, expected {expected}: it is not installed")]
    Mismatch {
        /// Which one.
        program: &'static str,
        /// The checksum that it has.
        found: String,
        /// The one that it should have.
        expected: &'static str,
    },
    /// The archive could not be read, or the programs not be written.
    #[error("cannot install Firecracker")]
    Io(#[from] io::Error),
}

impl ReleaseError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Fetch { source, .. } => Some(match source.missing_program() {
                Some(program) => format!("install `{program}`"),
                None => "`--mirror URL` names another place to fetch it from".to_owned(),
            }),
            Self::Incomplete(_) | Self::Mismatch { .. } => {
                Some("is the mirror one of Firecracker's releases?".to_owned())
            }
            Self::Io(_) => None,
        }
    }
}

/// Where a program of the release is once it is installed.
#[must_use]
pub fn place(layout: &Layout, program: &str) -> Utf8PathBuf {
    layout.programs().join(format!("firecracker-{VERSION}")).join(program)
}

/// Fetches the release from a mirror and installs it for this user; returns where its program is.
///
/// # Errors
/// Where it cannot be fetched, is not what it should be, or cannot be written. What was there
/// before is there still then.
pub async fn install(layout: &Layout, mirror: &str) -> Result<Utf8PathBuf, ReleaseError> {
    let arch = std::env::consts::ARCH;
    let mirror = mirror.trim_end_matches('/');
    let url = format!("{mirror}/v{VERSION}/firecracker-v{VERSION}-{arch}.tgz");
    let programs = layout.programs();
    private::create_dir_all(&programs)?;
    // One at a time, so that what one before left can go.
    let _turn = FileLock::exclusive(&programs.join(".lock")).await?;
    for entry in programs.read_dir_utf8()?.flatten() {
        if entry.file_name().starts_with(SCRATCH) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    let scratch = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(&programs)?;
    let archive = scratch.path().join("archive.tgz");
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--location", "--silent", "--show-error", "--output"]);
    curl.arg(&archive).arg(&url);
    run_tool(&mut curl).await.map_err(|source| ReleaseError::Fetch { url, source })?;
    unpack(GzDecoder::new(fs::File::open(&archive)?), layout)?;
    Ok(place(layout, PROGRAMS[0].name))
}

/// Installs the programs of an archive, all or none.
fn unpack(archive: impl Read, layout: &Layout) -> Result<(), ReleaseError> {
    let arch = std::env::consts::ARCH;
    let mut contents = PROGRAMS.map(|_| None);
    for entry in tar::Archive::new(archive).entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let wanted = PROGRAMS
            .iter()
            .position(|program| path.ends_with(format!("{}-v{VERSION}-{arch}", program.name)));
        if let Some(at) = wanted {
            let mut bytes = Vec::new();
            entry.take(LONGEST).read_to_end(&mut bytes)?;
            contents[at] = Some(bytes);
        }
    }
    for (program, content) in PROGRAMS.iter().zip(&contents) {
        check(program, content.as_deref())?;
    }
    for (program, content) in PROGRAMS.iter().zip(contents) {
        write(&place(layout, program.name), &content.unwrap_or_default())?;
    }
    Ok(())
}

fn check(program: &Program, content: Option<&[u8]>) -> Result<(), ReleaseError> {
    let content = content.ok_or_else(|| ReleaseError::Incomplete(program.name.to_owned()))?;
    let found =
        Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    if found == program.sha256 {
        return Ok(());
    }
    Err(ReleaseError::Mismatch { program: program.name, found, expected: program.sha256 })
}

fn write(path: &Utf8Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    private::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    io::Write::write_all(&mut file, content)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o755))?;
    let made = file.into_temp_path();
    publish(Utf8Path::from_path(&made).ok_or(io::ErrorKind::InvalidFilename)?, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(programs: &[&str]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for program in programs {
            let mut header = tar::Header::new_gnu();
            header.set_size(4);
            let path = format!("release/{program}-v{VERSION}-{}", std::env::consts::ARCH);
            archive.append_data(&mut header, path, &b"what"[..]).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn what_is_not_the_release_is_not_installed() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::under(Utf8Path::from_path(dir.path()).unwrap());
        let refused = |programs: &[&str]| unpack(&archive(programs)[..], &layout).unwrap_err();
        assert!(refused(&["jailer"]).to_string().contains("`firecracker` is not in"));
        let error = refused(&["firecracker", "jailer"]).to_string();
        assert!(error.contains(PROGRAMS[0].sha256), "{error}");
        assert!(!place(&layout, "firecracker").exists());
    }
}
