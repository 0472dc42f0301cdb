//! The package managers, and what each distribution calls what banger needs.
//!
//! The names for apt are tested; the others are to the best of knowledge, and a gap is a gap
//! of that distribution.

use std::ffi::OsStr;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::process::find_program;

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageManager {
    /// Debian, Ubuntu and their kin.
    Apt,
    /// Fedora and its kin.
    Dnf,
    /// Arch.
    Pacman,
    /// openSUSE.
    Zypper,
    /// Alpine.
    Apk,
}

impl PackageManager {
    /// Every one, in the order of detection.
    pub const ALL: [Self; 5] = [Self::Apt, Self::Dnf, Self::Pacman, Self::Zypper, Self::Apk];

    /// The one whose program is there.
    #[must_use]
    pub fn detect(path: Option<&OsStr>) -> Option<Self> {
        Self::ALL.into_iter().find(|manager| find_program(manager.program(), path).is_some())
    }

    /// Its program.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Zypper => "zypper",
            Self::Apk => "apk",
        }
    }

    /// The command a person would type to install packages, less the right to do so.
    #[must_use]
    pub fn install(self, packages: &[&str]) -> Vec<String> {
        let words: &[&str] = match self {
            Self::Apt => &["apt-get", "install", "--no-install-recommends"],
            Self::Dnf => &["dnf", "install"],
            Self::Pacman => &["pacman", "-S", "--needed"],
            Self::Zypper => &["zypper", "install"],
            Self::Apk => &["apk", "add"],
        };
        words.iter().chain(packages).map(ToString::to_string).collect()
    }

    /// The commands that install packages with nobody there to answer, less the right to do so.
    #[must_use]
    pub fn install_unattended(self, packages: &[&str]) -> Vec<Vec<String>> {
        let (update, install): (&[&str], &[&str]) = match self {
            // `env`, since sudo clears the environment.
            Self::Apt => (
                &["apt-get", "update", "-q"],
                &[
                    "env",
                    "DEBIAN_FRONTEND=noninteractive",
                    "apt-get",
                    "install",
                    "-y",
                    "-q",
                    "--no-install-recommends",
                ],
            ),
            Self::Dnf => (&[], &["dnf", "install", "-y"]),
            Self::Pacman => (&[], &["pacman", "-S", "--needed", "--noconfirm"]),
            Self::Zypper => (&[], &["zypper", "--non-interactive", "install"]),
            Self::Apk => (&[], &["apk", "add"]),
        };
        let own = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let install = install.iter().chain(packages).copied().collect::<Vec<_>>();
        [own(update), own(&install)].into_iter().filter(|words| !words.is_empty()).collect()
    }
}

impl fmt::Display for PackageManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.program())
    }
}

/// Something banger needs that a distribution packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Package {
    /// QEMU for x86-64, with its `microvm` machine.
    Qemu,
    /// `qemu-img`.
    QemuImg,
    /// `mmdebstrap`.
    Mmdebstrap,
    /// `mke2fs`.
    E2fsprogs,
    /// `mkfs.erofs`.
    Erofs,
    /// `ssh`.
    Ssh,
    /// `ssh-keygen`.
    SshKeygen,
    /// `newuidmap` and `newgidmap`.
    Uidmap,
    /// The keys of Debian's archive.
    DebianKeyring,
    /// `unshare`.
    UtilLinux,
    /// `tar`.
    Tar,
    /// `dmsetup`.
    Dmsetup,
    /// `ip`.
    Iproute,
    /// `nft`.
    Nftables,
    /// `passt`.
    Passt,
}

impl Package {
    /// What a distribution calls it; `None` where it has no such package.
    #[must_use]
    pub fn name(self, manager: PackageManager) -> Option<&'static str> {
        // In the order of `PackageManager::ALL`.
        let names = match self {
            Self::Qemu => [
                "qemu-system-x86",
                "qemu-system-x86-core",
                "qemu-system-x86",
                "qemu-x86",
                "qemu-system-x86_64",
            ],
            Self::QemuImg => ["qemu-utils", "qemu-img", "qemu-img", "qemu-img", "qemu-img"],
            Self::Dmsetup => {
                ["dmsetup", "device-mapper", "device-mapper", "device-mapper", "device-mapper"]
            }
            Self::Iproute => ["iproute2", "iproute", "iproute2", "iproute2", "iproute2"],
            Self::Nftables => ["nftables", "nftables", "nftables", "nftables", "nftables"],
            Self::Passt => ["passt"; 5],
            Self::Mmdebstrap => ["mmdebstrap", "mmdebstrap", "", "", ""],
            Self::E2fsprogs => ["e2fsprogs"; 5],
            Self::Erofs => ["erofs-utils"; 5],
            Self::Ssh => {
                ["openssh-client", "openssh-clients", "openssh", "openssh-clients", "openssh"]
            }
            Self::SshKeygen => {
                ["openssh-client", "openssh", "openssh", "openssh-common", "openssh"]
            }
            Self::Uidmap => ["uidmap", "shadow-utils", "shadow", "shadow", "shadow-subids"],
            Self::DebianKeyring => {
                let debian = "debian-archive-keyring";
                [debian, "debian-keyring", debian, "", debian]
            }
            Self::UtilLinux => ["util-linux"; 5],
            Self::Tar => ["tar"; 5],
        };
        let at = PackageManager::ALL.iter().position(|candidate| *candidate == manager)?;
        Some(names[at]).filter(|name| !name.is_empty())
    }
}

impl Serialize for Package {
    /// Writes the names per package manager.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all = PackageManager::ALL.into_iter();
        serializer.collect_map(all.filter_map(|manager| Some((manager, self.name(manager)?))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fake;
    use super::*;

    #[test]
    fn the_package_manager_on_path_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fake::program(dir.path(), "apt-get", "exit 0");
        let path = Some(dir.path().as_os_str());
        assert_eq!(PackageManager::detect(path), Some(PackageManager::Apt));
    }

    #[test]
    fn apt_refreshes_its_lists_and_asks_nothing() {
        let commands = PackageManager::Apt.install_unattended(&["qemu-utils", "mmdebstrap"]);
        let lines: Vec<_> = commands.iter().map(|words| words.join(" ")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "apt-get update -q");
        assert!(lines[1].starts_with("env DEBIAN_FRONTEND=noninteractive apt-get install -y -q"));
        assert!(lines[1].ends_with("--no-install-recommends qemu-utils mmdebstrap"), "{lines:?}");
    }

    #[test]
    fn every_manager_installs_in_one_command() {
        for manager in PackageManager::ALL {
            let last = manager.install_unattended(&["a", "b"]).pop().unwrap().join(" ");
            assert!(last.ends_with(" a b"), "{last}");
            assert!(last.contains(manager.program()), "{last}");
            assert!(manager.install(&["a"]).join(" ").starts_with(manager.program()));
        }
    }

    #[test]
    fn a_distribution_without_a_package_says_so() {
        assert_eq!(Package::Mmdebstrap.name(PackageManager::Apt), Some("mmdebstrap"));
        assert_eq!(Package::Mmdebstrap.name(PackageManager::Pacman), None);
        let json = serde_json::to_value(Package::Mmdebstrap).unwrap();
        assert_eq!(json, serde_json::json!({"apt": "mmdebstrap", "dnf": "mmdebstrap"}));
    }
}
