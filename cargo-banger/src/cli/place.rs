//! Where a command finds its files, on the command line.

use camino::Utf8PathBuf;
use clap::Args;

/// What is said of [`PlaceArgs::untrusted`] after the help of commands that have it.
pub(super) const UNTRUSTED_HELP: &str = "\
A workspace is trusted as `cargo build` trusts it: its Cargo.toml may hand variables in, open the
network, and name files and programs of this host; its .cargo/config.toml, rust-toolchain.toml and
packages.apt decide what runs on this host, cargo's aliases even before banger is started. So look at a
stranger's from outside of it, by `cargo banger … --untrusted --dir DIR`, or from anywhere by
`cargo-banger … --untrusted --dir DIR`, which needs no cargo.";

/// The directory whose files are sent.
#[derive(Args, Debug)]
pub(crate) struct PlaceArgs {
    /// Run as if called in this directory; files on the command line are those of the current one
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<Utf8PathBuf>,
    /// Believe nothing in the directory: no setting or list in it counts, no program of it and no
    /// cargo runs on this host, no variable but `--env K=V` is handed in, and nothing built is kept
    #[arg(long)]
    pub(crate) untrusted: bool,
}
