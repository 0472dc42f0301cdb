//! What a guest is told of what it was given: where tools and crates are, whom to ask for addresses,
//! and which of the host's programs stand where.

use std::ffi::OsString;

use camino::Utf8PathBuf;

use super::identity;
use crate::agent::Batch;
use crate::layer::{self, CARGO_CONFIG, Layer, LayerKind, VENDOR_MOUNT};
use crate::seed::CARGO_HOME;
use crate::spec::Net;

/// What stands for `cargo-banger` in a guest: a workspace whose cargo runs programs in VMs is in one
/// already.
const RUNNER: &str = "#!/bin/sh\n\
    # Written by banger.\n\
    [ \"$1 $2\" = 'banger runner' ] || { echo 'this is a VM of banger already' >&2; exit 240; }\n\
    shift 2\n\
    exec \"$@\"\n";

/// Has the guest know what is on its disks, and whom to ask for addresses.
pub(super) fn belongings(layers: &[&Layer], net: Net, resolvers: Option<&str>) -> Batch {
    let path: Vec<_> = layers.iter().filter_map(|layer| layer.bin()).collect();
    let mut batch = Batch::new()
        .directory("/etc/profile.d")
        .file("/etc/profile.d/banger.sh", 0o644, &identity::profile(&path, net == Net::None))
        .directory("/usr/local/bin")
        .file("/usr/local/bin/cargo-banger", 0o755, RUNNER)
        .directory(CARGO_HOME);
    if layers.iter().any(|layer| layer.id().kind == LayerKind::Dependencies) {
        let config = format!("{VENDOR_MOUNT}/{CARGO_CONFIG}");
        batch = batch.link(&format!("{CARGO_HOME}/config.toml"), &config);
    }
    if let Some(resolvers) = resolvers {
        batch = batch.file("/etc/resolv.conf", 0o644, resolvers);
    }
    batch
}

/// What commands find around them.
pub(super) fn surroundings(layers: &[&Layer], net: Net) -> Vec<(String, OsString)> {
    let path: Vec<_> = layers.iter().filter_map(|layer| layer.bin()).collect();
    identity::surroundings(&path, net == Net::None)
}

/// Shows each program of the programs layer at its own path, and makes directories.
pub(super) fn programs(paths: &[Utf8PathBuf], directories: &[Utf8PathBuf]) -> Batch {
    let made = directories.iter().fold(Batch::new(), |batch, path| batch.directory(path.as_str()));
    let show = |batch: Batch, (number, path): (usize, &Utf8PathBuf)| {
        batch.show(&layer::place(number), path.as_str())
    };
    paths.iter().enumerate().fold(made, show)
}
