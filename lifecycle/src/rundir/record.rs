//! `vm.json`: what a VM is and what it holds, for whoever has to clear up after it.
//!
//! Whoever clears up removes what the record names, so one is believed only where nobody else can
//! have written it and it names nothing but what a VM can have: [`checked`] decides.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt as _;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::Layout;
use crate::device_mapper;
use crate::spec::{VmName, VmSpec};

mod checked;

pub use checked::RecordError;

/// The file's name, and how long it may be, in bytes.
const FILE: &str = "vm.json";
const MAX_LENGTH: u64 = 1 << 20;

/// How the names of directories begin that fetches make beside their targets.
pub(crate) const FETCH_PREFIX: &str = ".banger-fetch-";

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
    /// Directories beside the targets of fetches, which go when those end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fetches: Vec<Utf8PathBuf>,
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
    /// What it uses of what is shared, so that this is not removed while there is the VM.
    #[serde(default, skip_serializing_if = "Uses::is_empty")]
    pub uses: Uses,
}

/// What a VM uses of what is kept for many, by the names of their directories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uses {
    /// Digests of images.
    pub images: BTreeSet<String>,
    /// Layers, by kind and key.
    pub layers: BTreeSet<String>,
    /// Keys of templates.
    pub templates: BTreeSet<String>,
    /// Directories of workspace disks.
    pub workspaces: BTreeSet<String>,
}

impl Uses {
    /// Whether it uses nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what another one uses.
    pub(crate) fn extend(&mut self, other: Self) {
        let Self { images, layers, templates, workspaces } = other;
        self.images.extend(images);
        self.layers.extend(layers);
        self.templates.extend(templates);
        self.workspaces.extend(workspaces);
    }
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
    /// Where the guest reaches public addresses only: the resolvers that it may ask, wherever they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internet: Option<Vec<Ipv4Addr>>,
}

impl Meta {
    /// Whether something of the VM's is still on this host that does not go with its files: a device,
    /// a link, a namespace, what an interrupted fetch left.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        let network = self.network.as_ref();
        network.is_some_and(|it| it.link_path().exists() || it.namespace_path().exists())
            || self.fetches.iter().any(|path| path.symlink_metadata().is_ok())
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

    /// Reads the record of a run directory; `None` where there is none yet.
    ///
    /// # Errors
    /// Where it cannot be read, or is not to be believed.
    pub fn read(layout: &Layout, run_dir: &Utf8Path) -> Result<Option<Self>, RecordError> {
        match read_ours(&run_dir.join(FILE)) {
            Ok(text) => Self::parse(&text, layout, run_dir).map(Some),
            Err(RecordError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes the text of a record of a run directory.
    ///
    /// # Errors
    /// Where it is no record, or names what is not a VM's own.
    pub fn parse(text: &[u8], layout: &Layout, run_dir: &Utf8Path) -> Result<Self, RecordError> {
        let record = serde_json::from_slice(text).map_err(RecordError::Malformed)?;
        checked::check(&record, layout, run_dir)?;
        Ok(record)
    }

    /// Replaces the record of a run directory in one step.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, run_dir: &Utf8Path) -> io::Result<()> {
        let part = run_dir.join("vm.json.part");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        // Not synced: after a power cut there is no VM either.
        fs::rename(part, run_dir.join(FILE))
    }
}

/// Reads a short file that nobody but this user can have written.
fn read_ours(path: &Utf8Path) -> Result<Vec<u8>, RecordError> {
    // Neither followed where it is a link, nor waited for where it is a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(RecordError::NoFile);
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(RecordError::Foreign(metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(RecordError::Writable(metadata.mode() & 0o7777));
    }
    let mut text = Vec::new();
    file.take(MAX_LENGTH + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_LENGTH { Err(RecordError::TooLong) } else { Ok(text) }
}

#[cfg(test)]
impl Record {
    /// That of a VM that was kept.
    pub(crate) fn kept(name: &str, uses: Uses) -> Self {
        let meta = Meta {
            format: Self::FORMAT,
            name: name.parse().expect("tests give valid names"),
            spec: VmSpec::default(),
            image: None,
            created: "2026-11-28T01:02:03Z".to_owned(),
            owns: Vec::new(),
            fetches: Vec::new(),
            devices: Vec::new(),
            network: None,
            kept: true,
            directory: None,
            uses,
        };
        Self { meta, config: serde_json::Value::Null }
    }
}

#[cfg(test)]
mod tests;
