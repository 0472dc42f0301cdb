//! What makes one guest differ from all others, also from those that share its boot.

use std::ffi::OsString;
use std::fmt::Write as _;

use rustix::process::Signal;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::agent::Batch;
use crate::process::quote;
use crate::seed::{CARGO_HOME, SSHD_PID};
use crate::spec::VmName;

/// The device that the VMM's network is.
const DEVICE: &str = "eth0";

/// Name, numbers and random state of one guest.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    name: VmName,
    /// In the form of systemd's machine-id(5).
    machine_id: String,
    /// A random UUID.
    boot_id: String,
    /// A locally administered hardware address.
    mac: String,
    /// For the kernel's random number generator.
    seed: [u8; 64],
}

impl std::fmt::Debug for Identity {
    /// Leaves the seed out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Identity {
    /// A new one, from the host's random number generator.
    pub(crate) fn new(name: VmName) -> std::io::Result<Self> {
        let mut bytes = [0; 16 + 16 + 6 + 64];
        // Up to 256 bytes come in one piece (getrandom(2)).
        getrandom(&mut bytes, GetRandomFlags::empty())?;
        let (machine, rest) = bytes.split_at(16);
        let (boot, rest) = rest.split_at(16);
        let (mac, seed) = rest.split_at(6);
        Ok(Self {
            name,
            machine_id: hex(&uuid(machine), ""),
            boot_id: dashed(&hex(&uuid(boot), "")),
            mac: hex(&local(mac), ":"),
            seed: *seed.first_chunk().expect("64 bytes are left"),
        })
    }

    /// What must hold before anybody connects: packets on their way when the address changes would
    /// be lost.
    pub(crate) fn address(&self) -> Batch {
        Batch::new().address(DEVICE, &self.mac)
    }

    /// What must hold before anybody is let in: a clone's sshd [stands still](hold) until it would
    /// draw random numbers that no other clone draws.
    pub(crate) fn randomness(&self) -> Batch {
        Batch::new().seed(&self.seed).signal(SSHD_PID, Signal::CONT)
    }

    /// The rest, to which disks and time are added.
    pub(crate) fn names(&self) -> Batch {
        let Self { name, machine_id, boot_id, .. } = self;
        let hosts = format!("127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n");
        Batch::new()
            .hostname(name.as_str())
            .file("/etc/hostname", 0o644, &format!("{name}\n"))
            .file("/etc/hosts", 0o644, &hosts)
            .file("/etc/machine-id", 0o444, &format!("{machine_id}\n"))
            .file("/run/banger/boot_id", 0o444, &format!("{boot_id}\n"))
            // The kernel makes its own once and offers no way to change it.
            .bind("/run/banger/boot_id", "/proc/sys/kernel/random/boot_id")
    }
}

/// Has sshd accept nobody until the guest is given its own [randomness](Identity::randomness).
pub(crate) fn hold() -> Batch {
    Batch::new().signal(SSHD_PID, Signal::STOP)
}

/// What commands find around them, as root's login would have it, with what [`profile`] gives shells.
pub(crate) fn surroundings(path: &[camino::Utf8PathBuf], offline: bool) -> Vec<(String, OsString)> {
    let path = path.iter().map(|dir| format!("{dir}:")).collect::<String>();
    let path = format!("{path}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let login = [("PATH", path.as_str()), ("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root")];
    let all = login.into_iter().chain(ours(offline));
    all.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// What login shells source.
pub(crate) fn profile(path: &[camino::Utf8PathBuf], offline: bool) -> String {
    let mut text = String::from("# Written by banger.\n");
    for dir in path.iter().rev() {
        let _ = writeln!(text, "PATH={}:$PATH", quote(dir.as_str()));
    }
    text.push_str("export PATH\n");
    for (name, value) in ours(offline) {
        let _ = writeln!(text, "export {name}={value}");
    }
    text
}

/// The variables that banger sets in every guest.
fn ours<'a>(offline: bool) -> impl Iterator<Item = (&'a str, &'a str)> {
    let offline = offline.then_some(("CARGO_NET_OFFLINE", "true"));
    // Without a locale, shells take a character of UTF-8 for several.
    let all = [("SHELL", "/bin/bash"), ("LANG", "C.UTF-8"), ("CARGO_HOME", CARGO_HOME)];
    all.into_iter().chain(offline)
}

/// Marks 16 random bytes as a random UUID (RFC 9562, version 4).
fn uuid(random: &[u8]) -> Vec<u8> {
    let mut bytes = random.to_vec();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}

/// Marks 6 random bytes as a hardware address of one device that no maker gave.
fn local(random: &[u8]) -> Vec<u8> {
    let mut bytes = random.to_vec();
    bytes[0] = bytes[0] & 0xfc | 0x02;
    bytes
}

fn hex(bytes: &[u8], separator: &str) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(separator)
}

fn dashed(hex: &str) -> String {
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_guests_have_nothing_in_common() {
        let name: VmName = "otter".parse().unwrap();
        let one = Identity::new(name.clone()).unwrap();
        let two = Identity::new(name).unwrap();
        assert_ne!(one.machine_id, two.machine_id);
        assert_ne!(one.boot_id, two.boot_id);
        assert_ne!(one.mac, two.mac);
        assert_ne!(one.seed, two.seed);
    }

    #[test]
    fn numbers_have_their_standard_forms() {
        assert_eq!(hex(&uuid(&[0xff; 16]), ""), "ffffffffffff4fffbfffffffffffffff");
        assert_eq!(hex(&local(&[0xff; 6]), ":"), "fe:ff:ff:ff:ff:ff");
        let dashes = dashed("00112233445566778899aabbccddeeff");
        assert_eq!(dashes, "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn the_profile_puts_the_first_directory_first() {
        let path = ["/a b/bin".into(), "/c".into()];
        let text = profile(&path, true);
        let places = ["PATH='/c':$PATH", "PATH='/a b/bin':$PATH", "CARGO_NET_OFFLINE=true"];
        let at: Vec<_> = places.iter().map(|place| text.find(place).unwrap()).collect();
        assert!(at.is_sorted(), "{text}");
    }
}
