//! What of a record is believed: that it is of this format and its directory's own, and that all it
//! names is a VM's, in the form that VMs' things have.

use std::fmt::Debug;
use std::io;

use camino::{Utf8Component, Utf8Path};

use super::{FETCH_PREFIX, Meta, NetworkRecord, Record, Uses};
use crate::rundir::Layout;

/// Why a record is not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// It cannot be read.
    #[error("its record cannot be read")]
    Io(#[from] io::Error),
    /// A directory, pipe or device is in its place.
    #[error("its record is not a file")]
    NoFile,
    /// Somebody else has written it.
    #[error("its record belongs to user {0}")]
    Foreign(u32),
    /// Others can have written it.
    #[error("others can write to its record (mode {0:04o})")]
    Writable(u32),
    /// It is longer than any record is.
    #[error("its record is too long")]
    TooLong,
    /// It is no record.
    #[error("its record does not parse")]
    Malformed(#[source] serde_json::Error),
    /// Another version of banger wrote it.
    #[error("its record has format {0}, and this banger reads {expected}", expected = Record::FORMAT)]
    Format(u32),
    /// A field holds what no VM of this directory has.
    #[error("its record's `{field}` is {value}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// What it holds, cut and with control characters escaped.
        value: String,
    },
}

/// How much of a value is shown.
const SHOWN: usize = 100;

/// Checks every field. One that is added has to be named here.
pub(super) fn check(
    record: &Record,
    layout: &Layout,
    run_dir: &Utf8Path,
) -> Result<(), RecordError> {
    // The VMM's configuration is for people.
    let Record { meta, config: _ } = record;
    // A name and a shape have their own forms; the directory is one of the guest's.
    let Meta { format, name, spec: _, image, created, owns, fetches, devices, .. } = meta;
    let Meta { network, kept: _, directory: _, uses, .. } = meta;
    if *format != Record::FORMAT {
        return Err(RecordError::Format(*format));
    }
    field("name", name, run_dir.file_name() == Some(name.as_str()))?;
    if let Some(image) = image {
        field("image", image, is_name(image))?;
    }
    field("created", created, humantime::parse_rfc3339(created).is_ok())?;
    for path in owns {
        field("owns", path, is_own_file(path, layout))?;
    }
    for path in fetches {
        field("fetches", path, is_fetch(path))?;
    }
    for device in devices {
        let handle = device.strip_prefix("banger-").unwrap_or_default();
        let parts = ["-base", "-cow"].into_iter().find_map(|part| handle.strip_suffix(part));
        field("devices", device, is_handle(parts.unwrap_or(handle)))?;
    }
    network.as_ref().map_or(Ok(()), check_network)?;
    check_uses(uses)
}

fn check_network(network: &NetworkRecord) -> Result<(), RecordError> {
    // Addresses choose nothing: they are told to `nft` as what they are.
    let NetworkRecord { namespace, link, table, address: _, internet: _ } = network;
    let of = |name: &str, prefix: &str| name.strip_prefix(prefix).is_some_and(is_handle);
    field("namespace", namespace, of(namespace, "banger-"))?;
    field("link", link, of(link, "bgr-"))?;
    field("table", table, of(table, "banger_"))
}

fn check_uses(uses: &Uses) -> Result<(), RecordError> {
    let Uses { images, layers, templates, workspaces } = uses;
    let mut all = images.iter().chain(layers).chain(templates).chain(workspaces);
    all.try_for_each(|name| field("uses", name, is_name(name)))
}

fn field(field: &'static str, value: impl Debug, holds: bool) -> Result<(), RecordError> {
    if holds {
        return Ok(());
    }
    let value = format!("{value:?}").chars().take(SHOWN).collect();
    Err(RecordError::Field { field, value })
}

/// Whether a file is the private top of a run over a workspace disk, which is all that a VM has outside
/// its directory.
fn is_own_file(path: &Utf8Path, layout: &Layout) -> bool {
    let is_top = path.file_name().is_some_and(|name| name.starts_with("run-"));
    let directory = path.parent().and_then(Utf8Path::parent);
    is_normal(path) && is_top && directory.is_some_and(|it| is_same(it, &layout.workspaces()))
}

/// Whether a directory may be one that a fetch makes. Whether it is this VM's is asked where it is
/// removed.
fn is_fetch(path: &Utf8Path) -> bool {
    is_normal(path) && path.file_name().is_some_and(|name| name.starts_with(FETCH_PREFIX))
}

/// Whether a path is absolute, without `.`, `..` or empty names.
fn is_normal(path: &Utf8Path) -> bool {
    let plain = |component| matches!(component, Utf8Component::Normal(_) | Utf8Component::RootDir);
    path.is_absolute()
        && path.components().all(plain)
        // As text: a path with `.` or an empty name in it is not written so.
        && path.components().collect::<camino::Utf8PathBuf>().as_str() == path.as_str()
}

/// Whether two paths lead to one directory, however they are written.
fn is_same(one: &Utf8Path, other: &Utf8Path) -> bool {
    let physical = |path: &Utf8Path| path.canonicalize_utf8().ok();
    one == other || physical(one).is_some_and(|one| physical(other) == Some(one))
}

/// Whether a text is the short name that a run has elsewhere on this host.
fn is_handle(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a text may be the name of a directory in a store.
fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !text.is_empty() && text.len() <= 128 && text.bytes().all(plain)
}
