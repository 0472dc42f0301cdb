//! Whether names resolve, which only building an image needs, and whether this user may make taps.

use std::net::ToSocketAddrs as _;
use std::sync::mpsc;
use std::time::Duration;

use camino::Utf8Path;
use rustix::io::Errno;

use super::finding::{Finding, Purpose, Remedy, State};
use super::identity::Identity;
use super::storage::open_device;
use super::tools;

/// A lookup of a name, under way on a thread of its own: the resolver has no time limit.
#[derive(Debug)]
pub struct NameLookup(mpsc::Receiver<Result<(), String>>);

impl NameLookup {
    /// Starts to look a host's name up.
    #[must_use]
    pub fn start(host: &str) -> Self {
        let (sender, receiver) = mpsc::channel();
        let host = host.to_owned();
        // Left behind where it takes too long: it holds nothing and ends with the process.
        std::thread::spawn(move || {
            let found = match (host.as_str(), 80).to_socket_addrs() {
                Ok(mut addresses) => addresses.next().map(drop).ok_or("no address".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            sender.send(found).ok();
        });
        Self(receiver)
    }

    /// Waits for the answer for at most `limit`.
    ///
    /// # Errors
    /// Why the name has no address, in the system's words.
    pub fn finish(self, limit: Duration) -> Result<(), String> {
        match self.0.recv_timeout(limit) {
            Ok(found) => found,
            Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
        }
    }
}

/// The finding on name resolution for a survey. Through a proxy the host's own resolver does not
/// matter, so that its failure there is only worth a word.
#[must_use]
pub fn dns_finding(host: &str, resolved: Result<(), String>, proxied: bool) -> Finding {
    let ready = |detail: String| Finding::ready("dns", "package mirror", Purpose::Image, detail);
    match resolved {
        Ok(()) => ready(format!("`{host}` resolves")),
        Err(why) if proxied => ready(format!("`{host}` does not resolve ({why}); a proxy is set"))
            .but(State::Degraded, "an image can be built only through the proxy"),
        Err(why) => ready(format!("`{host}` does not resolve: {why}"))
            .but(State::Missing, "no image can be built: its packages come from there")
            .mended_by(Remedy::Advice(
                "check the network and /etc/resolv.conf, or set http_proxy".to_owned(),
            )),
    }
}

/// Opens the tap device, to see whether this user could make a tap.
///
/// # Errors
/// What the system answers where that cannot be.
pub fn tap(root: &Utf8Path, identity: &Identity) -> Result<(), Errno> {
    open_device(&root.join("dev/net/tun"))?;
    if identity.may_administer_network() { Ok(()) } else { Err(Errno::PERM) }
}

/// The finding on taps for a survey.
#[must_use]
pub fn tap_finding(opened: Result<(), Errno>) -> Finding {
    let ready = |detail: &str| Finding::ready("tap", "tap devices", Purpose::Optional, detail);
    let cost = tools::NO_TAPS;
    match opened {
        Ok(()) => ready("can be made"),
        Err(Errno::ACCESS | Errno::PERM) => {
            ready("for root, or CAP_NET_ADMIN, only").but(State::Missing, cost)
        }
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => ready("no `/dev/net/tun`")
            .but(State::Missing, cost)
            .mended_by(Remedy::root_command(&["modprobe", "tun"])),
        Err(other) => ready(&format!("cannot be opened: {other}")).but(State::Missing, cost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_that_never_answers_is_given_up() {
        let (sender, receiver) = mpsc::channel();
        let error = NameLookup(receiver).finish(Duration::ZERO).unwrap_err();
        assert!(error.contains("no answer"), "{error}");
        drop(sender);
    }

    #[test]
    fn an_address_needs_no_server_to_resolve() {
        assert_eq!(NameLookup::start("127.0.0.1").finish(Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn no_names_means_no_image_unless_a_proxy_is_set() {
        assert_eq!(dns_finding("m", Ok(()), false).state, State::Ready);
        assert!(dns_finding("m", Err("x".to_owned()), false).blocks_main_job());
        assert_eq!(dns_finding("m", Err("x".to_owned()), true).state, State::Degraded);
    }

    #[test]
    fn taps_need_the_device_and_the_capability() {
        let nobody = Identity { uid: 1000, user: None, capabilities: 0 };
        assert_eq!(tap(Utf8Path::new("/no/such/root"), &nobody), Err(Errno::NOENT));
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(dir.path().join("dev/net")).unwrap();
        fs_err::write(dir.path().join("dev/net/tun"), "").unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        assert_eq!(tap(root, &nobody), Err(Errno::PERM));
        assert_eq!(tap(root, &Identity { capabilities: 1 << 12, ..nobody }), Ok(()));
        assert_eq!(tap_finding(Err(Errno::PERM)).state, State::Missing);
        assert!(!tap_finding(Err(Errno::NOENT)).required);
    }
}
