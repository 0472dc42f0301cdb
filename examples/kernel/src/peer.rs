//! A second machine as far as the network can tell: a namespace at the other end of a veth link.

use std::error::Error;
use std::net::Ipv4Addr;
use std::process::Command;

use crate::tool::{run, run_quietly};

/// A network namespace with one link to ours. Dropping it removes both.
#[derive(Debug)]
#[must_use = "dropping it removes the namespace"]
pub struct Peer {
    name: String,
    subnet: u8,
}

impl Peer {
    /// Makes the namespace `name` and a link between 10.78.`subnet`.1, ours, and .2, its own.
    ///
    /// # Errors
    /// Where a step is refused: not root, or there is one of that name.
    pub fn create(name: &str, subnet: u8) -> Result<Self, Box<dyn Error>> {
        run(&["modprobe", "veth"])?;
        run(&["ip", "netns", "add", name])?;
        // From here on a failure drops what there is.
        let this = Self { name: name.to_owned(), subnet };
        run(&["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        run(&["ip", "address", "add", &format!("{}/24", this.our_address()), "dev", name])?;
        run(&["ip", "link", "set", name, "up"])?;
        let address = format!("{}/24", this.address());
        run(&["ip", "-n", name, "address", "add", &address, "dev", "eth0"])?;
        run(&["ip", "-n", name, "link", "set", "eth0", "up"])?;
        Ok(this)
    }

    /// Our end's address.
    #[must_use]
    pub fn our_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, self.subnet, 1)
    }

    /// The namespace's address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, self.subnet, 2)
    }

    /// A command that will run in the namespace.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Cuts the link, as if somebody pulled the cable.
    ///
    /// # Errors
    /// Where the link is gone.
    pub fn unplug(&self) -> Result<(), Box<dyn Error>> {
        run(&["ip", "link", "set", &self.name, "down"])?;
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The link's other end, and so the link, goes with the namespace.
        run_quietly(&["ip", "netns", "delete", &self.name]);
    }
}
