//! Whether a VM reaches beyond this host, and how far: NAT and filters in a table of its own, switched
//! in one step.

use std::io;

use serde::Serialize;

use super::{NetworkError, Reach, forwarding, tell};
use crate::rundir::record::NetworkRecord;

/// Whether a VM reaches beyond this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Nat {
    /// It does, under an address of this host.
    Up,
    /// It reaches this host and nothing else; what it had open stands still.
    Down,
}

impl Nat {
    /// The word that users know it by.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// Switches it, whatever it is now, of a VM that is there.
pub(crate) fn switch(network: &NetworkRecord, to: Nat) -> Result<(), NetworkError> {
    tell("nft", &["-f", "-"], &table(network, to)?)?;
    if to == Nat::Up {
        forwarding::turn_on()?;
    }
    Ok(())
}

/// How it is.
pub(crate) fn status(network: &NetworkRecord) -> Result<Nat, NetworkError> {
    let table = tell("nft", &["list", "table", "ip", &network.table], "")?;
    let up = String::from_utf8_lossy(&table).contains("masquerade");
    Ok(if up { Nat::Up } else { Nat::Down })
}

/// Removes the table, where it is there.
pub(crate) fn remove(network: &NetworkRecord) -> Result<(), NetworkError> {
    let NetworkRecord { table, .. } = network;
    // Named once so that there is one to delete.
    tell("nft", &["-f", "-"], &format!("table ip {table}\ndelete table ip {table}\n")).map(drop)
}

/// The first table of a VM.
pub(super) fn new_table(network: &NetworkRecord) -> io::Result<String> {
    // Named once so that there is one to replace.
    Ok(format!("table ip {}\n{}", network.table, table(network, Nat::Up)?))
}

/// The table, in place of the one before; refused where there is none, as of a VM that has just gone.
fn table(network: &NetworkRecord, nat: Nat) -> io::Result<String> {
    let NetworkRecord { link, table, .. } = network;
    let address =
        network.address.ok_or_else(|| io::Error::other("the network was never complete"))?;
    let (private, host) = filters(network);
    let chains = match nat {
        Nat::Up => format!(
            "chain leaving {{\n\
             type nat hook postrouting priority 100\n\
             ip saddr {address} oifname != \"{link}\" masquerade\n\
             }}\n\
             chain passing {{\n\
             type filter hook forward priority 0\n\
             {private}\
             iifname \"{link}\" accept\n\
             oifname \"{link}\" ct state established,related accept\n\
             oifname \"{link}\" drop\n\
             }}\n"
        ),
        Nat::Down => format!(
            "chain passing {{\n\
             type filter hook forward priority 0\n\
             iifname \"{link}\" drop\n\
             oifname \"{link}\" drop\n\
             }}\n"
        ),
    };
    Ok(format!("delete table ip {table}\ntable ip {table} {{\n{chains}{host}}}\n"))
}

/// What keeps a guest that is to reach public addresses only from others, and from this host; nothing
/// for others. Its resolvers it may ask, wherever they are.
fn filters(network: &NetworkRecord) -> (String, String) {
    let NetworkRecord { link, internet: Some(resolvers), .. } = network else {
        return Default::default();
    };
    let ask = |resolver| {
        let ports = ["udp", "tcp"]
            .map(|kind| format!("iifname \"{link}\" ip daddr {resolver} {kind} dport 53 accept\n"));
        ports.concat()
    };
    let ask: String = resolvers.iter().map(ask).collect();
    let private = Reach::Internet.excluded().collect::<Vec<_>>().join(", ");
    // So that who connects hears of it at once.
    let refuse = "reject with icmp type admin-prohibited";
    let private = format!("{ask}iifname \"{link}\" ip daddr {{ {private} }} {refuse}\n");
    let host = format!(
        "chain entering {{\n\
         type filter hook input priority 0\n\
         iifname \"{link}\" ct state established,related accept\n\
         {ask}\
         iifname \"{link}\" {refuse}\n\
         }}\n"
    );
    (private, host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::names;

    #[test]
    fn only_a_table_of_the_vms_own_is_touched() {
        let address = Some([10, 231, 0, 1].into());
        let network = NetworkRecord { address, ..names("0123abcd") };
        for nat in [Nat::Up, Nat::Down] {
            let text = table(&network, nat).unwrap();
            assert!(text.starts_with("delete table ip banger_0123abcd\n"), "{text}");
            let tables: Vec<_> = text.lines().filter(|line| line.contains("table ip")).collect();
            assert!(tables.iter().all(|line| line.contains("banger_0123abcd")), "{text}");
            assert_eq!(text.contains("masquerade"), nat == Nat::Up);
            assert!(!text.contains("169.254"), "{text}");
        }
    }

    /// A VM's network with a filter.
    fn filtered() -> NetworkRecord {
        let address = Some([10, 231, 0, 1].into());
        let internet = Some(vec![[192, 168, 1, 1].into()]);
        NetworkRecord { address, internet, ..names("0123abcd") }
    }

    #[test]
    fn of_private_networks_nothing_but_names_is_reached_whichever_way_it_is_switched() {
        let up = table(&filtered(), Nat::Up).unwrap();
        let of = |text: &str| up.find(text).unwrap_or_else(|| panic!("{text} in {up}"));
        let asks = "ip daddr 192.168.1.1 udp dport 53 accept";
        assert!(of(asks) < of("ip daddr { 0.0.0.0/8, 127.0.0.0/8"), "{up}");
        assert!(of("169.254.0.0/16") < of("iifname \"bgr-0123abcd\" accept"), "{up}");
        for nat in [Nat::Up, Nat::Down] {
            let text = table(&filtered(), nat).unwrap();
            let (_, entering) = text.split_once("hook input").unwrap();
            assert!(entering.contains("ct state established,related accept"), "{text}");
            assert!(entering.contains("iifname \"bgr-0123abcd\" reject"), "{text}");
        }
    }

    /// Needs root and `nft`; in a network namespace of its own, so that this host's stays as it is.
    #[test]
    fn nft_takes_every_table() {
        let nft = crate::process::system_program("nft");
        let here = |text: &str| {
            let words = ["--net", "--", nft.to_str().unwrap(), "-f", "-"];
            let mut command = std::process::Command::new("unshare");
            crate::process::run_tool_here(command.args(words), text)
        };
        if let Err(error) = here("") {
            println!("SKIPPED: {error}");
            return;
        }
        for network in [filtered(), NetworkRecord { internet: None, ..filtered() }] {
            for nat in [Nat::Up, Nat::Down] {
                let text = format!("table ip {}\n{}", network.table, table(&network, nat).unwrap());
                here(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            }
        }
    }
}
