//! Builds one image into a directory: packages, kernel, initrd, root filesystem. Where the
//! directory goes, and that nobody else builds the same, is the store's business.

use std::collections::BTreeMap;

use banger_protocol::event::{Events, Stage};
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use futures_util::future::BoxFuture;
use tokio::process::Command;

use super::error::ImageError;
use super::initrd::{self, Initrd};
use super::kernel::elf_from_bzimage;
use super::manifest::installed_packages;
use super::recipe::Recipe;
use super::stored::{BZIMAGE, INITRD, ROOTFS, VMLINUX};
use super::tarball::Tarball;
use crate::process::{ToolError, run_tool};
use crate::rundir::private;

mod filesystem;
mod mmdebstrap;
mod rights;

use rights::Rights;

/// Debian's name of the architecture that images are built for: the host's.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
const TOOLS: [&str; 4] = ["mmdebstrap", "mke2fs", "unshare", "tar"];
/// What else a user without root needs: it maps the user's range of ids.
const UNPRIVILEGED_TOOL: &str = "newuidmap";

/// What a build has to tell about the files it made.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The kernel's release.
    pub kernel: String,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// Package to version.
    pub installed: BTreeMap<String, String>,
    /// Modules that the kernel does not offer.
    pub missing_modules: Vec<String>,
}

/// Makes an image's four files in a directory. Tests put another in the place of [`Debian`].
pub(crate) trait Builder: Send + Sync {
    /// Makes the files; `title` begins the text of every progress event.
    fn build<'a>(
        &'a self,
        recipe: &'a Recipe,
        directory: &'a Utf8Path,
        title: &'a str,
    ) -> BoxFuture<'a, Result<Parts, ImageError>>;
}

/// Builds with mmdebstrap and mke2fs, as root or in a user namespace.
#[derive(Debug)]
pub(crate) struct Debian {
    logs: Utf8PathBuf,
    events: Events,
}

impl Debian {
    /// Keeps one log per build in `logs`.
    pub(crate) fn new(logs: Utf8PathBuf, events: Events) -> Self {
        Self { logs, events }
    }

    async fn run(
        &self,
        recipe: &Recipe,
        directory: &Utf8Path,
        title: &str,
    ) -> Result<Parts, ImageError> {
        let rights = Rights::find().await;
        check_tools(rights).await?;
        if rights == Rights::Sudo {
            self.events.detail("user namespaces are refused here: building with `sudo`");
        }
        let progress = Progress { events: &self.events, title };
        let log = Log::create(&self.logs)?;
        self.events.detail(format!("the build's log is `{}`", log.path));
        let run = mmdebstrap::Run { recipe, directory, rights, log: &log, progress: &progress };
        let path = run.run().await?;
        progress.step("packing the root filesystem", mmdebstrap::STEPS);
        let tar = blocking(move || {
            Tarball::open(&path).map_err(ImageError::io("read the new image's tar"))
        })
        .await?;
        let tar = std::sync::Arc::new(tar);
        let small = {
            let (tar, directory) = (tar.clone(), directory.to_owned());
            blocking(move || small_parts(&tar, &directory))
        };
        let rootfs = directory.join(ROOTFS);
        let large = filesystem::make(&tar, &rootfs, rights, &log);
        let (parts, ()) = tokio::try_join!(small, large)?;
        fs::remove_file(tar.path()).map_err(ImageError::io("remove the new image's tar"))?;
        Ok(parts)
    }
}

impl Builder for Debian {
    fn build<'a>(
        &'a self,
        recipe: &'a Recipe,
        directory: &'a Utf8Path,
        title: &'a str,
    ) -> BoxFuture<'a, Result<Parts, ImageError>> {
        Box::pin(self.run(recipe, directory, title))
    }
}

/// How many steps [`Progress`] counts to: mmdebstrap's, packing, hashing.
pub(super) const STEPS: u64 = mmdebstrap::STEPS + 2;

/// Tells how far a build is.
pub(super) struct Progress<'a> {
    pub(super) events: &'a Events,
    pub(super) title: &'a str,
}

impl Progress<'_> {
    pub(super) fn step(&self, what: &str, done: u64) {
        let text = format!("{}: {what}", self.title);
        self.events.progress(Stage::Image, text, done, Some(STEPS));
    }
}

/// What the tools say, kept.
struct Log {
    path: Utf8PathBuf,
}

impl Log {
    fn create(logs: &Utf8Path) -> Result<Self, ImageError> {
        private::create_dir_all(logs).map_err(ImageError::io("make the directory for logs"))?;
        let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now());
        let now = now.to_string().replace(':', "");
        let path = logs.join(format!("image-{now}-{}.log", std::process::id()));
        fs::write(&path, "").map_err(ImageError::io("write the build's log"))?;
        Ok(Self { path })
    }

    fn line(&self, line: &str) -> Result<(), ImageError> {
        use std::io::Write as _;
        let file = fs::OpenOptions::new().append(true).open(&self.path);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .map_err(ImageError::io("write the build's log"))
    }

    fn text(&self) -> String {
        let bytes = fs::read(&self.path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Finds out before the long work, and not after it, that a tool is missing.
async fn check_tools(rights: Rights) -> Result<(), ImageError> {
    let more = (!rights.is_root()).then_some(UNPRIVILEGED_TOOL);
    for program in TOOLS.into_iter().chain(more) {
        // Only whether it starts matters: not each of them knows the option.
        let started = run_tool(Command::new(path_of(program)).arg("--version")).await;
        if let Err(ToolError::Start { source, .. }) = started {
            tracing::debug!(program, %source, "does not start");
            return Err(ImageError::MissingTool { program: program.to_owned() });
        }
    }
    Ok(())
}

/// The program's path in the system's own directories, else its name for `PATH` to resolve.
fn path_of(program: &str) -> std::path::PathBuf {
    crate::process::find_program(program, None).unwrap_or_else(|| program.into())
}

fn small_parts(tar: &Tarball, directory: &Utf8Path) -> Result<Parts, ImageError> {
    let kernel = initrd::newest_kernel(tar)?;
    let bzimage = initrd::read(tar, &format!("boot/vmlinuz-{kernel}"))?;
    let initrd = Initrd::build(tar, &kernel)?;
    let status = initrd::read(tar, "var/lib/dpkg/status")?;
    let files =
        [(VMLINUX, elf_from_bzimage(&bzimage)?), (BZIMAGE, bzimage), (INITRD, initrd.bytes)];
    for (name, bytes) in files {
        fs::write(directory.join(name), bytes).map_err(ImageError::io("write the new image"))?;
    }
    Ok(Parts {
        kernel,
        architecture: ARCHITECTURE.to_owned(),
        installed: installed_packages(&String::from_utf8_lossy(&status), ARCHITECTURE),
        missing_modules: initrd.missing,
    })
}

/// Runs what computes or reads much off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => {
            Err(ImageError::io("finish building the image")(std::io::Error::other(error)))
        }
    }
}
