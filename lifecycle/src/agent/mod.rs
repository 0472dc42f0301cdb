//! What the host has the guest's agent do: batches of steps, as text.
//!
//! The agent itself is a program of its own, in `agent/`; [`PROGRAM`] is what that was built to.
//! Sending a batch is the VMM's business, which holds the stream to the agent.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use camino::Utf8Path;
use rustix::process::Signal;

/// The agent: a static executable.
pub(crate) const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent"));

/// A disk to be mounted in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The serial number that the VMM gives the disk: at most 20 bytes of `[a-z0-9-]`.
    pub(crate) serial: &'static str,
    /// The device, where the guest sees no serial numbers.
    pub(crate) device: Option<String>,
    /// Filesystem type.
    pub(crate) filesystem: &'static str,
    /// Mount options, comma-separated.
    pub(crate) options: &'static str,
    /// Mount point in the guest.
    pub(crate) path: camino::Utf8PathBuf,
}

/// Steps to be carried out in order, the rest left out after one that fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    lines: String,
}

impl Batch {
    /// One without steps.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Feeds the kernel's random number generator and makes it start afresh from that.
    pub(crate) fn seed(self, seed: &[u8; 64]) -> Self {
        let hex = seed.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        self.step(&["seed", &hex])
    }

    /// Sets the wall clock.
    pub(crate) fn clock(self, now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.step(&["clock", &since.as_secs().to_string(), &since.subsec_nanos().to_string()])
    }

    /// Names the guest.
    pub(crate) fn hostname(self, name: &str) -> Self {
        self.step(&["hostname", name])
    }

    /// Gives a network device another hardware address.
    pub(crate) fn address(self, device: &str, address: &str) -> Self {
        self.step(&["address", device, address])
    }

    /// Writes a file; its directory must be there.
    pub(crate) fn file(self, path: &str, mode: u32, content: &str) -> Self {
        self.step(&["file", path, &mode.to_string(), content])
    }

    /// Makes a directory and those above it.
    pub(crate) fn directory(self, path: &str) -> Self {
        self.step(&["directory", path])
    }

    /// Makes a symbolic link.
    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.step(&["link", path, target])
    }

    /// Shows one place in another.
    pub(crate) fn bind(self, from: &str, to: &str) -> Self {
        self.step(&["bind", from, to])
    }

    /// Shows a file in another place, which is made where it is not there.
    pub(crate) fn show(self, file: &str, at: &str) -> Self {
        self.step(&["show", file, at])
    }

    /// Mounts a disk, and makes its mount point.
    pub(crate) fn disk(self, mount: &Mount) -> Self {
        let Mount { serial, device, filesystem, options, path } = mount;
        let disk = device.as_deref().unwrap_or(serial);
        self.step(&["disk", disk, filesystem, options, path.as_str()])
    }

    /// Mounts an overlay filesystem; its directories must be there.
    pub(crate) fn overlay(self, path: &Utf8Path, lower: &str, upper: &str, work: &str) -> Self {
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        self.step(&["overlay", path.as_str(), &options])
    }

    /// Sends a signal to the process whose number is in a file.
    pub(crate) fn signal(self, pid_file: &str, signal: Signal) -> Self {
        self.step(&["signal", pid_file, &signal.as_raw().to_string()])
    }

    /// Runs a program to its end, whatever that is.
    pub(crate) fn run(self, program: &str, arguments: [&str; 2]) -> Self {
        self.step(&["run", program, arguments[0], arguments[1]])
    }

    /// Writes a filesystem out and holds it still.
    pub(crate) fn freeze(self, path: &str) -> Self {
        self.step(&["freeze", path])
    }

    /// Writes all filesystems out.
    pub(crate) fn sync(self) -> Self {
        self.step(&["sync"])
    }

    /// Fails where the ext4 filesystem of a mounted disk has met with errors.
    pub(crate) fn sound(self, mount: &Mount) -> Self {
        self.step(&["sound", mount.device.as_deref().unwrap_or(mount.serial)])
    }

    /// Waits until no connection is open, for so many seconds at most, and writes all out.
    pub(crate) fn settle(self, seconds: u64) -> Self {
        self.step(&["settle", &seconds.to_string()])
    }

    /// This batch and then another.
    pub(crate) fn then(mut self, other: &Self) -> Self {
        self.lines.push_str(&other.lines);
        self
    }

    /// Whether it has no steps.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The text for the console.
    pub(crate) fn text(&self, number: u64) -> String {
        format!("begin\t{number}\n{}go\n", self.lines)
    }

    fn step(mut self, fields: &[&str]) -> Self {
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                self.lines.push('\t');
            }
            escape(field, &mut self.lines);
        }
        self.lines.push('\n');
        self
    }
}

/// Has a field hold neither tabs nor line ends.
fn escape(field: &str, to: &mut String) {
    for char in field.chars() {
        match char {
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\t' => to.push_str("\\t"),
            other => to.push(other),
        }
    }
}

#[cfg(test)]
mod tests;
