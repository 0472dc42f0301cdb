//! The network that a VM has to itself: a namespace with a tap in it, a leased pair of addresses
//! between namespace and host, and NAT that can be switched while the VM runs.
//!
//! ```text
//!  guest ── tap ── namespace `banger-<id>` ── veth `bgr-<id>` ── host ── NAT, table `banger_<id>`
//!  10.0.2.15   10.0.2.2          (leased, odd)      (leased, even)
//! ```
//!
//! Every namespace looks alike from inside, so that clones of one template keep the address and
//! the tap that they were frozen with; what differs is the leased pair. The host reaches the guest
//! at the odd address of the pair.
//!
//! Without root a guest gets out by [`passt`] behind a [`gate`], which keeps the host from it.
//!
//! [`pool`] leases, [`namespace`] and [`nat`] compute what `ip` and `nft` are told as texts, which
//! are applied in one process each; [`forwarding`] is the host's own switch, [`shared`] what runs of this
//! host agree over, [`reach`] how far a guest gets. Needs root.
//! Only what carries a VM's own names is touched, and that switch.

pub(crate) mod forwarding;
mod frame;
pub mod gate;
pub mod nat;
mod namespace;
pub(crate) mod passt;
mod pool;
mod reach;
mod resolver;
mod shared;

use std::ffi::OsStr;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;

use camino::Utf8Path;

use self::pool::Lease;
pub use self::reach::Reach;
pub(crate) use self::resolver::{resolvers, resolvers_behind_passt};
use self::shared::turn;
use crate::host::Identity;
use crate::process::{ToolError, find_program, run_tool_here, system_program};
use crate::rundir::record::NetworkRecord;
use crate::rundir::{Record, RunDir};
use crate::spec::NetPool;

/// The guest's address and its gateway's on the link to the VMM, and all of that link: QEMU's defaults
/// for user networking, which a tap follows.
pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const LINK: &str = "10.0.2.0/24";

/// Who passes the guest's questions for names on to the host's resolver, where that is not a tap's
/// network.
pub(crate) const FORWARDER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// The guest's other link, by which its sshd is reached where the first one is `passt`'s: an address for
/// it and QEMU's. Of a network that stands for nothing outside of a host (RFC 7335).
pub(crate) const DOOR: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 2);
pub(crate) const DOOR_LINK: &str = "192.0.0.0/29";
pub(crate) const DOOR_HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);

/// The tap's name in its namespace.
pub(crate) const TAP: &str = "tap0";

/// Why a VM's network could not be made, changed or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Every pair of the pool overlaps with a route of this host.
    #[error("no address of `{0}` is free: every pair of it has a route on this host")]
    NoFreeAddress(NetPool),
    /// A VM that has no network of its own was to get another one.
    #[error("the VM `{0}` has no network of its own")]
    NoNetwork(crate::spec::VmName),
    /// `ip` or `nft` failed.
    #[error("cannot set up the network")]
    Tool(#[from] ToolError),
    /// A file could not be read or written.
    #[error("cannot set up the network")]
    Io(#[from] io::Error),
}

impl NetworkError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoFreeAddress(_) => {
                Some("name a private network that is not in use here: `--net-pool`".to_owned())
            }
            Self::NoNetwork(_) => Some("a VM started with `--net=tap` has one".to_owned()),
            Self::Tool(error) => {
                error.missing_program().map(|program| format!("install `{program}`"))
            }
            Self::Io(_) => None,
        }
    }
}

/// What keeps this user from making one; `None` where nothing does.
pub(crate) fn obstacle(path: Option<&OsStr>) -> Option<&'static str> {
    let identity = Identity::current(Utf8Path::new("/"));
    let lacks = |program| find_program(program, path).is_none();
    if !identity.is_root() || crate::host::network::tap(Utf8Path::new("/"), &identity).is_err() {
        return Some("a tap needs root and `/dev/net/tun`; `--vmm qemu` has user networking");
    }
    if lacks("ip") || lacks("nft") {
        return Some("install `ip` and `nft` (packages iproute2 and nftables)");
    }
    None
}

/// What a run's network is called, before it is there.
pub(crate) fn names(run: &str) -> NetworkRecord {
    NetworkRecord {
        namespace: format!("banger-{run}"),
        link: format!("bgr-{run}"),
        table: format!("banger_{run}"),
        address: None,
        internet: None,
    }
}

/// A VM's network. Dropping it removes it.
#[must_use = "dropping the network removes it"]
#[derive(Debug)]
pub(crate) struct Network {
    names: Option<NetworkRecord>,
}

impl Network {
    /// Makes the one that stands in a run's record, if one does, and adds its address there.
    pub(crate) fn of(run: &RunDir, record: &mut Record) -> Result<Option<Self>, NetworkError> {
        let Some(names) = record.meta.network.clone() else { return Ok(None) };
        let network = Self::create(run, names, record.meta.spec.net_pool)?;
        record.meta.network = network.names.clone();
        Ok(Some(network))
    }

    /// Makes it under names that stand in the run's record already, with an address of the pool
    /// and NAT up.
    fn create(run: &RunDir, names: NetworkRecord, pool: NetPool) -> Result<Self, NetworkError> {
        let mut this = Self { names: Some(names) };
        let names = this.names.as_mut().expect("they have just been put there");
        let tell = |program, arguments: &[&str], text: &str| {
            let mut command = command(program, arguments);
            run_tool_here(run.held_by(&mut command), text)
        };
        {
            // The lease is taken when the host has a route for it.
            let _turn = turn()?;
            let lease = Lease::find(pool)?;
            names.address = Some(lease.guest);
            tell("ip", &["-batch", "-"], &namespace::on_the_host(names, lease))?;
            let inside = ["-n", &names.namespace, "-batch", "-"];
            tell("ip", &inside, &namespace::inside(lease))?;
        }
        let forwarding = "echo 1 >/proc/sys/net/ipv4/ip_forward && exec \"$0\" -f -";
        let nft = system_program("nft");
        let nft = nft.to_string_lossy();
        let inside = ["netns", "exec", &names.namespace, "sh", "-c", forwarding, &nft];
        tell("ip", &inside, &namespace::translation())?;
        // The table first: as long as there is one, nobody turns forwarding off.
        tell("nft", &["-f", "-"], &nat::new_table(names)?)?;
        forwarding::turn_on()?;
        Ok(this)
    }

    /// Leaves it to whoever finds it in the VM's record.
    pub(crate) fn leave(mut self) {
        self.names = None;
    }

    /// Removes it; nobody may be in its namespace.
    pub(crate) fn remove(mut self) -> Result<(), NetworkError> {
        self.names.take().map_or(Ok(()), |names| remove(&names))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.names.take().map(|names| remove(&names)) {
            tracing::warn!(%error, "a VM's network stays");
        }
    }
}

/// Removes what is there of a network.
pub(crate) fn remove(names: &NetworkRecord) -> Result<(), NetworkError> {
    let steps = [
        remove_one(&names.link_path(), &["link", "delete", &names.link]),
        remove_one(&names.namespace_path(), &["netns", "delete", &names.namespace]),
        nat::remove(names),
        forwarding::restore(),
    ];
    // Each for itself, and the first error.
    steps.into_iter().collect()
}

/// Removes what a path tells is there. Somebody who was killed may be having it removed just now.
fn remove_one(path: &Utf8Path, arguments: &[&str]) -> Result<(), NetworkError> {
    if !path.exists() {
        return Ok(());
    }
    match tell("ip", arguments, "") {
        Err(error) if path.exists() => Err(error),
        _ => Ok(()),
    }
}

/// Has a tool do what a text says.
fn tell(program: &str, arguments: &[&str], text: &str) -> Result<Vec<u8>, NetworkError> {
    Ok(run_tool_here(&mut command(program, arguments), text)?)
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(system_program(program));
    command.args(arguments);
    command
}
