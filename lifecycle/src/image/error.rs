//! Why there is no image to be had, and what mends it.

use std::io;

use camino::Utf8PathBuf;

use super::kernel::KernelError;
use super::packages::{Origin, PackagesError};
use super::recipe::RecipeError;
use crate::process::ToolError;

/// Why there is no image to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The package list cannot be used.
    #[error(transparent)]
    Packages(#[from] PackagesError),
    /// The recipe cannot be built.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The image's kernel is of no use.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A program that builds images is not installed.
    #[error("`{program}` is not installed, and images are built with it")]
    MissingTool {
        /// The program.
        program: String,
    },
    /// The suite does not have a package.
    #[error("no package `{}` in Debian `{suite}` (asked for by {origin})", .packages.join("`, `"))]
    UnknownPackage {
        /// The packages, as the list spells them.
        packages: Vec<String>,
        /// Where they searched.
        suite: String,
        /// The list.
        origin: Origin,
    },
    /// The disk, or the memory that stands in for one, is full.
    #[error("no space left to build the image (see `{log}`)")]
    NoSpace {
        /// What the tools said.
        log: Utf8PathBuf,
    },
    /// An unprivileged user may not have what building needs.
    #[error("this user may not build images without root: {tail}")]
    Unprivileged {
        /// What the tools said last.
        tail: String,
    },
    /// The mirror cannot be reached.
    #[error("cannot download packages (see `{log}`): {tail}")]
    Download {
        /// What the tools said last.
        tail: String,
        /// All they said.
        log: Utf8PathBuf,
    },
    /// Installing the packages failed.
    #[error("`mmdebstrap` failed (see `{log}`): {tail}")]
    Mmdebstrap {
        /// What it said last.
        tail: String,
        /// All it said.
        log: Utf8PathBuf,
    },
    /// Packing the root filesystem failed.
    #[error("cannot make the root filesystem")]
    Filesystem(#[source] ToolError),
    /// The packages do not hold what a guest needs.
    #[error("the new image has no `{0}`")]
    Incomplete(String),
    /// A kernel module does not unpack.
    #[error("cannot decompress the kernel module `{module}`")]
    Module {
        /// Its path in the image.
        module: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the store, or of the image, cannot be handled.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why; names the path.
        #[source]
        source: io::Error,
    },
    /// No image has this name.
    #[error("there is no image `{0}`")]
    NotFound(String),
    /// Several images have this name.
    #[error("`{prefix}` could be any of the images `{}`", .matches.join("`, `"))]
    Ambiguous {
        /// The name.
        prefix: String,
        /// The images, by short digest.
        matches: Vec<String>,
    },
    /// The image cannot be removed now.
    #[error("the image `{0}` is in use by a running VM")]
    InUse(String),
    /// The image is not as it was built.
    #[error("the image `{digest}` is damaged: {reason}")]
    Damaged {
        /// The image.
        digest: String,
        /// What is wrong.
        reason: String,
    },
}

impl ImageError {
    pub(super) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Packages(error) => return error.hint(),
            Self::Recipe(error) => return error.hint(),
            Self::Kernel(error) => return error.hint(),
            Self::MissingTool { .. } => "`cargo banger doctor --fix` installs what is missing",
            Self::UnknownPackage { .. } => {
                "correct the name, or take the line out; https://packages.debian.org searches \
                 Debian's packages"
            }
            Self::NoSpace { .. } => {
                "building takes about 3 GB of disk in banger's cache directory and in /tmp, and \
                 1 GB of memory; `cargo banger image rm` and `cargo banger gc` free some"
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "`cargo banger image rm` and `cargo banger gc` free some disk"
            }
            Self::Unprivileged { .. } => {
                "install `uidmap`, give the user a range (`usermod --add-subuids 100000-165535 \
                 --add-subgids 100000-165535 $USER`) and allow user namespaces (sysctls \
                 `kernel.unprivileged_userns_clone=1`, \
                 `kernel.apparmor_restrict_unprivileged_userns=0`); or run `cargo banger image \
                 build` as root"
            }
            Self::Download { .. } => {
                "check the network and the suite's name, or name a mirror that can be reached"
            }
            Self::InUse(_) => "`cargo banger ps` lists the VMs",
            Self::NotFound(_) | Self::Ambiguous { .. } => "`cargo banger image ls` lists them",
            Self::Damaged { .. } => "`cargo banger image build` makes it anew",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
