//! The toolchain layer: the host's Rust toolchain as it is, at the same path in the guest.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use tokio::process::Command;

use crate::layer::erofs::Packing;
use crate::layer::error::LayerError;
use crate::layer::record::{FORMAT, LayerId, LayerKind};
use crate::layer::store::{Layer, LayerStore, Recipe};
use crate::process::run_tool;

/// How rustup is told of a toolchain.
const RUSTUP_TOOLCHAIN: &str = "RUSTUP_TOOLCHAIN";

/// Documentation and manual pages: half of a toolchain's bytes, and no use to a build.
const LEFT_OUT: [&str; 1] = ["share"];

/// Prefixes that hold far more than a toolchain, and that the guest has its own of.
const SHARED_PREFIXES: [&str; 3] = ["/", "/usr", "/usr/local"];

/// The sysroot that a real cargo (not a rustup proxy) belongs to, by where it stands.
///
/// Cargo tells its subcommands where it is in `CARGO`; pass that value in.
#[must_use]
pub fn sysroot_of(cargo: &Utf8Path) -> Option<Utf8PathBuf> {
    let sysroot = cargo.parent().filter(|bin| bin.file_name() == Some("bin"))?.parent()?;
    sysroot.join("lib/rustlib").is_dir().then(|| sysroot.to_owned())
}

/// The sysroot of the toolchain that `cargo` belongs to, or else of the one that `rustc` resolves
/// to in `workspace`, which honours its `rust-toolchain.toml`.
///
/// # Errors
/// Where there is no `rustc`, or it does not answer.
pub async fn find_sysroot(
    cargo: &Utf8Path,
    workspace: &Utf8Path,
) -> Result<Utf8PathBuf, LayerError> {
    if let Some(sysroot) = sysroot_of(cargo) {
        return Ok(sysroot);
    }
    let beside = cargo.with_file_name("rustc");
    let rustc = if beside.is_file() { beside.as_str() } else { "rustc" };
    let mut command = Command::new(rustc);
    command.current_dir(workspace);
    sysroot_by(command).await
}

/// The sysroot of the user's default toolchain, or of `chosen`, as rustup knows it: no directory has
/// a say, nor any `rust-toolchain.toml`.
///
/// # Errors
/// As [`find_sysroot`].
pub async fn default_sysroot(chosen: Option<&OsStr>) -> Result<Utf8PathBuf, LayerError> {
    let mut command = Command::new("rustc");
    match chosen {
        Some(chosen) => command.env(RUSTUP_TOOLCHAIN, chosen),
        None => command.env_remove(RUSTUP_TOOLCHAIN),
    };
    command.current_dir("/");
    sysroot_by(command).await
}

async fn sysroot_by(mut rustc: Command) -> Result<Utf8PathBuf, LayerError> {
    rustc.args(["--print", "sysroot"]);
    let output = run_tool(&mut rustc).await.map_err(LayerError::Rustc)?;
    let answer = String::from_utf8_lossy(&output).trim().to_owned();
    let sysroot = Utf8PathBuf::from(&answer);
    let usable = sysroot.is_absolute() && sysroot.join("lib/rustlib").is_dir();
    if usable { Ok(sysroot) } else { Err(LayerError::RustcAnswer { answer }) }
}

impl LayerStore {
    /// Finds or makes the layer of the toolchain in `sysroot`.
    ///
    /// Returns `None`, after a warning, where the toolchain is the distribution's and so cannot be
    /// told apart from the rest of `/usr`: the guest then needs one of its own.
    ///
    /// # Errors
    /// Where the toolchain cannot be read or packed, or the store not written.
    pub async fn toolchain(&self, sysroot: &Utf8Path) -> Result<Option<Layer>, LayerError> {
        if SHARED_PREFIXES.iter().any(|prefix| sysroot == *prefix) {
            self.events.warning(
                format!("the Rust toolchain in `{sysroot}` cannot be shared with the guest"),
                Some("install Rust through rustup, or add `cargo` and `rustc` to packages.apt"),
            );
            return Ok(None);
        }
        let contents = Contents::list(sysroot)?;
        let id = contents.id(sysroot);
        let recipe = ToolchainRecipe { store: self, sysroot, id, size: contents.size() };
        self.obtain(&recipe).await.map(Some)
    }
}

struct ToolchainRecipe<'a> {
    store: &'a LayerStore,
    sysroot: &'a Utf8Path,
    id: LayerId,
    size: u64,
}

impl Recipe for ToolchainRecipe<'_> {
    fn id(&self) -> &LayerId {
        &self.id
    }

    fn mount_point(&self) -> &Utf8Path {
        self.sysroot
    }

    fn what(&self) -> String {
        self.sysroot.to_string()
    }

    async fn build(&self, _scratch: &Utf8Path, image: &Utf8Path) -> Result<(), LayerError> {
        let packing = Packing {
            tree: self.sysroot,
            leave_out: &LEFT_OUT,
            image,
            what: "packing the Rust toolchain (first use)",
            expected: Some(self.size),
        };
        let packed = packing.run(&self.store.events).await;
        packed.map_err(|source| LayerError::Pack { kind: LayerKind::Toolchain, source })?;
        // An update that ran meanwhile would leave a mixture under the old key, for good.
        if Contents::list(self.sysroot)?.id(self.sysroot) == self.id {
            Ok(())
        } else {
            Err(LayerError::Changed { sysroot: self.sysroot.to_owned() })
        }
    }
}

/// What is in a toolchain: enough to notice any change without reading a file's content.
struct Contents(Vec<Entry>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Relative to the sysroot.
    path: PathBuf,
    mode: u32,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// Where a symbolic link points.
    target: Option<PathBuf>,
}

impl Contents {
    fn list(sysroot: &Utf8Path) -> Result<Self, LayerError> {
        let mut entries = Vec::new();
        let listed = Self::walk(sysroot, &mut entries);
        listed.map_err(|source| LayerError::Sysroot { sysroot: sysroot.to_owned(), source })?;
        entries.sort();
        Ok(Self(entries))
    }

    fn walk(sysroot: &Utf8Path, entries: &mut Vec<Entry>) -> io::Result<()> {
        let mut pending = vec![PathBuf::new()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(sysroot.as_std_path().join(&dir))? {
                let entry = entry?;
                let path = dir.join(entry.file_name());
                if LEFT_OUT.iter().any(|name| path.as_os_str() == *name) {
                    continue;
                }
                let metadata = entry.metadata()?;
                let kind = metadata.file_type();
                let target = kind.is_symlink().then(|| fs::read_link(entry.path())).transpose()?;
                // A directory's own size and time say nothing that its entries do not.
                let (size, modified) = if kind.is_dir() {
                    pending.push(path.clone());
                    (0, (0, 0))
                } else {
                    (metadata.len(), (metadata.mtime(), metadata.mtime_nsec()))
                };
                entries.push(Entry { path, mode: metadata.mode(), size, modified, target });
            }
        }
        Ok(())
    }

    /// The sum of all sizes, in bytes.
    fn size(&self) -> u64 {
        self.0.iter().map(|entry| entry.size).sum()
    }

    fn id(&self, sysroot: &Utf8Path) -> LayerId {
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&bytes.len().to_le_bytes()).update(bytes);
        };
        field(&FORMAT.to_le_bytes());
        field(sysroot.as_str().as_bytes());
        for entry in &self.0 {
            field(entry.path.as_os_str().as_bytes());
            field(&entry.mode.to_le_bytes());
            field(&entry.size.to_le_bytes());
            field(&entry.modified.0.to_le_bytes());
            field(&entry.modified.1.to_le_bytes());
            field(entry.target.as_ref().map_or(&[], |target| target.as_os_str().as_bytes()));
        }
        LayerId::new(LayerKind::Toolchain, &hasher.finalize())
    }
}

#[cfg(test)]
mod tests;
