//! What a VM is told at boot: its name, its keys, its disks and its process 1.
//!
//! Travels as a cpio segment appended to the image's initrd, so that it works alike for every VMM
//! and every image, and an image does not grow old when this text changes. Owns the guest-side
//! scripts; knows nothing of VMMs.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::image::cpio::Archive;
use crate::session::Keys;
use crate::spec::{Init, VmName};

/// Where the guest keeps cargo's home: on its own root disk, for this VM only.
pub(crate) const CARGO_HOME: &str = "/opt/banger/cargo";

/// A disk that the guest mounts at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The serial number that the VMM gives the disk: at most 20 bytes of `[a-z0-9-]`.
    pub(crate) serial: &'static str,
    /// Filesystem type.
    pub(crate) filesystem: &'static str,
    /// Mount options, comma-separated.
    pub(crate) options: &'static str,
    /// Mount point in the guest.
    pub(crate) path: Utf8PathBuf,
}

/// The guest's address on the link to the VMM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// Address and prefix length, as `ip addr add` takes them.
    pub(crate) address: &'static str,
    /// Default gateway.
    pub(crate) gateway: &'static str,
    /// Resolver; empty where the guest reaches none.
    pub(crate) dns: &'static str,
}

/// All that one VM is told.
#[derive(Clone, Debug)]
pub(crate) struct Seed<'a> {
    pub(crate) name: &'a VmName,
    pub(crate) init: Init,
    pub(crate) address: Address,
    pub(crate) keys: &'a Keys,
    pub(crate) mounts: &'a [Mount],
    /// Directories put before the guest's `PATH`.
    pub(crate) path: &'a [Utf8PathBuf],
    /// Whether cargo must keep off the network.
    pub(crate) offline: bool,
}

impl Seed<'_> {
    /// The cpio segment to append to an initrd.
    pub(crate) fn segment(&self) -> Vec<u8> {
        let mut archive = Archive::new();
        archive.file("init", 0o755, include_bytes!("init.sh"));
        archive.dir("seed", 0o700);
        archive.file("seed/quick-init.sh", 0o755, include_bytes!("quick-init.sh"));
        archive.file("seed/sshd_config", 0o600, include_bytes!("sshd_config"));
        archive.file("seed/host_key", 0o600, self.keys.host_private().as_bytes());
        archive.file("seed/authorized_keys", 0o600, self.keys.user_public().as_bytes());
        archive.file("seed/config", 0o600, self.config().as_bytes());
        archive.file("seed/disks", 0o600, self.disks().as_bytes());
        archive.file("seed/profile.sh", 0o644, self.profile().as_bytes());
        archive.finish()
    }

    /// Shell assignments that `init.sh` sources.
    fn config(&self) -> String {
        format!(
            "HOSTNAME='{}'\nINIT={}\nADDRESS={}\nGATEWAY={}\nDNS={}\nCARGO_HOME={CARGO_HOME}\n",
            self.name, self.init, self.address.address, self.address.gateway, self.address.dns,
        )
    }

    /// One line a disk, fields parted by tabs.
    fn disks(&self) -> String {
        self.mounts.iter().fold(String::new(), |mut lines, mount| {
            let Mount { serial, filesystem, options, path } = mount;
            writeln!(lines, "{serial}\t{filesystem}\t{options}\t{path}")
                .expect("writing to a string does not fail");
            lines
        })
    }

    /// What login shells and commands source.
    fn profile(&self) -> String {
        let mut text = String::from("# Written by banger at boot.\n");
        for dir in self.path.iter().rev() {
            let _ = writeln!(text, "PATH={}:$PATH", quote(dir.as_str()));
        }
        let _ = writeln!(text, "export PATH SHELL=/bin/bash CARGO_HOME={CARGO_HOME}");
        if self.offline {
            text.push_str("export CARGO_NET_OFFLINE=true\n");
        }
        text
    }
}

/// Quotes a word for a POSIX shell.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether a path can stand in the guest's tables of disks.
pub(crate) fn mountable(path: &Utf8Path) -> bool {
    path.is_absolute() && !path.as_str().contains(['\t', '\n'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }

    #[test]
    fn paths_with_field_separators_are_not_mountable() {
        assert!(mountable(Utf8Path::new("/a b")));
        assert!(!mountable(Utf8Path::new("/a\tb")));
        assert!(!mountable(Utf8Path::new("a")));
    }
}
