//! What a guest is told at boot: its keys, its address and its process 1, and the agent that tells
//! it the rest later.
//!
//! Travels as a cpio segment appended to the image's initrd, so that it works alike for every VMM
//! and every image, and an image does not grow old when this text changes. It holds nothing of a
//! single VM, so that many can start from one boot. Knows nothing of VMMs.

use std::fmt::Write as _;

use crate::agent;
use crate::image::cpio::Archive;
use crate::network::{DOOR, FORWARDER, GATEWAY, GUEST};
use crate::session::Keys;
use crate::spec::Init;

/// Where the guest keeps cargo's home: on its own root disk, for this VM only.
pub(crate) const CARGO_HOME: &str = "/opt/banger/cargo";

/// Where the guest's sshd has its process number.
pub(crate) const SSHD_PID: &str = "/run/banger/sshd.pid";

/// The name of a guest that has not been given one yet.
const HOSTNAME: &str = "banger";

/// All that a guest is told at boot.
#[derive(Clone, Debug)]
pub(crate) struct Seed<'a> {
    pub(crate) init: Init,
    /// Whether it has a network device.
    pub(crate) has_link: bool,
    /// Whether it has a second one, for its sshd.
    pub(crate) has_door: bool,
    /// Whether it is reached over vsock, and not over ports of a console and a network.
    pub(crate) has_vsock: bool,
    /// Its root disk's device, where the VMM gives disks no serial numbers.
    pub(crate) root: Option<&'static str>,
    pub(crate) keys: &'a Keys,
}

impl Seed<'_> {
    /// The cpio segment to append to an initrd.
    pub(crate) fn segment(&self) -> Vec<u8> {
        let mut archive = Archive::new();
        archive.file("init", 0o755, include_bytes!("init.sh"));
        archive.dir("seed", 0o700);
        archive.file("seed/agent", 0o755, agent::PROGRAM);
        archive.file("seed/first.sh", 0o755, include_bytes!("first.sh"));
        archive.file("seed/sshd_config", 0o600, include_bytes!("sshd_config"));
        archive.file("seed/host_key", 0o600, self.keys.host_private().as_bytes());
        archive.file("seed/authorized_keys", 0o600, self.keys.user_public().as_bytes());
        archive.file("seed/config", 0o600, self.config().as_bytes());
        archive.finish()
    }

    /// Shell assignments that `init.sh` sources.
    fn config(&self) -> String {
        let channel = if self.has_vsock { "vsock" } else { "ports" };
        let mut text = format!("HOSTNAME={HOSTNAME}\nINIT={}\nCHANNEL={channel}\n", self.init);
        if let Some(root) = self.root {
            let _ = writeln!(text, "ROOT={root}");
        }
        if self.has_link {
            let _ = writeln!(text, "ADDRESS={GUEST}/24\nGATEWAY={GATEWAY}\nDNS={FORWARDER}");
        }
        if self.has_door {
            let _ = writeln!(text, "DOOR={DOOR}/29");
        }
        text
    }
}
