//! `vm.json`: what a VM is and what it holds, for whoever has to clear up after it.

use std::io;
use std::net::Ipv4Addr;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::device_mapper;
use crate::spec::{VmName, VmSpec};

/// The record of one VM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What banger knows of it.
    pub meta: Meta,
    /// The VMM's own configuration: for QEMU its arguments.
    pub config: serde_json::Value,
}

/// banger's half of a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of the record's form.
    pub format: u32,
    /// The VM's name.
    pub name: VmName,
    /// Its shape.
    pub spec: VmSpec,
    /// Digest of its image, unless its root disk is the user's own file.
    pub image: Option<String>,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// Files outside the run directory that are the VM's own and go with it.
    pub owns: Vec<Utf8PathBuf>,
    /// Its device-mapper devices, in the order in which they have to go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Its network, where it has one to itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkRecord>,
    /// Whether it was told to stay after its command ended.
    pub kept: bool,
    /// The directory a shell starts in.
    pub directory: Option<Utf8PathBuf>,
}

/// The network that a VM has to itself on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRecord {
    /// The network namespace, as `ip netns` names it.
    pub namespace: String,
    /// The link between it and the host.
    pub link: String,
    /// The table of nftables, of the family `ip`.
    pub table: String,
    /// The guest's address as the host sees it, once it is leased.
    pub address: Option<Ipv4Addr>,
}

impl Meta {
    /// Whether something of the VM's is still on this host outside of files: a device, a link, a
    /// namespace.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        let network = self.network.as_ref();
        network.is_some_and(|it| it.link_path().exists() || it.namespace_path().exists())
            || self.devices.iter().any(|name| !matches!(device_mapper::node(name), Ok(None)))
    }
}

impl NetworkRecord {
    /// What is there while the link is.
    pub(crate) fn link_path(&self) -> Utf8PathBuf {
        Utf8Path::new("/sys/class/net").join(&self.link)
    }

    /// Where the namespace is, for setns(2).
    pub(crate) fn namespace_path(&self) -> Utf8PathBuf {
        Utf8Path::new("/run/netns").join(&self.namespace)
    }
}

impl Record {
    /// Version of the record's form.
    pub const FORMAT: u32 = 1;

    /// Reads the record of a run directory; `None` where there is none yet or it is not whole.
    #[must_use]
    pub fn read(run_dir: &Utf8Path) -> Option<Self> {
        let text = fs::read(run_dir.join("vm.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Replaces the record of a run directory in one step.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, run_dir: &Utf8Path) -> io::Result<()> {
        let part = run_dir.join("vm.json.part");
        fs::write(&part, serde_json::to_vec_pretty(self)?)?;
        fs::rename(part, run_dir.join("vm.json"))
    }
}
