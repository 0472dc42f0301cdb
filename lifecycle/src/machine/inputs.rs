//! All that decides what a command in a fresh VM does, as one digest: as long as that is the same,
//! what the command has said once need not be asked again.

use camino::Utf8PathBuf;

use super::{BootFiles, WorkspacePlan};
use crate::error::{Cause, During as _, Error};
use crate::event::Stage;
use crate::exec::GuestCommand;
use crate::layer::{LayerError, Programs};
use crate::overlay::saved_manifest;
use crate::rundir::{KeyHasher, Layout, Notes};
use crate::spec::VmSpec;
use crate::sync::{Manifest, Root, scan};

/// The version of what is counted.
const FORMAT: &str = "1";

/// What a command in a VM of its own has to do with. Holds the image against removal.
#[derive(Debug)]
pub struct Inputs {
    /// What the VM boots from.
    pub boot: BootFiles,
    /// Its shape.
    pub spec: VmSpec,
    /// The host's executables in it.
    pub programs: Programs,
    /// Directories that are made in it.
    pub directories: Vec<Utf8PathBuf>,
    /// The workspace that is synced into it.
    pub workspace: Option<WorkspacePlan>,
    /// The command, with its directory and variables.
    pub command: GuestCommand,
}

impl Inputs {
    /// Looks at everything as it is now: reads what has changed since it was last read, and starts
    /// nothing.
    ///
    /// # Errors
    /// Where a file cannot be read, or a program lacks a library.
    pub async fn digest(&self, layout: &Layout) -> Result<String, Error> {
        let mut hasher = KeyHasher::default();
        hasher.field("format", FORMAT).field("banger", env!("CARGO_PKG_VERSION"));
        let program = self.command.for_agent().during(Stage::Check)?;
        hasher.field("command", program);
        let spec = serde_json::to_vec(&self.spec).map_err(std::io::Error::from);
        hasher.field("spec", spec.during(Stage::Check)?);
        self.boot.identify(&mut hasher).during(Stage::Check)?;
        for directory in &self.directories {
            hasher.field("directory", directory.as_str());
        }
        let scanning = self.scans(layout);
        for (path, digest) in self.contents(layout).await.during(Stage::Check)? {
            hasher.field("file", path.as_str()).field("content", digest);
        }
        for (root, scanning) in scanning {
            let digest = scanning.await.map_err(std::io::Error::other).during(Stage::Check)?;
            hasher.field("root", root.as_str()).field("tree", digest.during(Stage::Check)?);
        }
        Ok(hasher.key())
    }

    /// The digests of the programs and of what comes along.
    async fn contents(&self, layout: &Layout) -> Result<Vec<(Utf8PathBuf, String)>, Cause> {
        let (programs, notes) = (self.programs.clone(), Notes::new(layout));
        let reading = tokio::task::spawn_blocking(move || {
            let files = programs.files().map_err(LayerError::from)?;
            let digest = |path: Utf8PathBuf| {
                let digest = notes.digest(&path)?;
                Ok((path, digest))
            };
            files.into_iter().map(digest).collect::<Result<Vec<_>, Cause>>()
        });
        reading.await.map_err(std::io::Error::other)?
    }

    /// The digests of the workspace's trees, as they would be sent.
    fn scans(&self, layout: &Layout) -> Vec<(Utf8PathBuf, Scanning)> {
        let Some(workspace) = &self.workspace else { return Vec::new() };
        let begin = |root: &Root| {
            let (name, size) = (workspace.disk_name(), self.spec.workspace_size.bytes());
            let (root, old) = (root.clone(), saved_manifest(layout, &name, size, &root.key()));
            let host = root.host.clone();
            let scanning = tokio::task::spawn_blocking(move || {
                let old = old.as_deref().and_then(Manifest::load);
                Ok(scan(&root, old.as_ref())?.digest())
            });
            (host, scanning)
        };
        workspace.roots.iter().map(begin).collect()
    }
}

type Scanning = tokio::task::JoinHandle<Result<[u8; 32], Cause>>;

#[cfg(test)]
mod tests {
    use camino::Utf8Path;
    use fs_err as fs;

    use super::*;
    use crate::program::GlibcVersion;
    use crate::workspace::Trust;

    struct Place(tempfile::TempDir);

    impl Place {
        fn path(&self, name: &str) -> Utf8PathBuf {
            Utf8Path::from_path(self.0.path()).unwrap().join(name)
        }

        fn inputs(&self) -> Inputs {
            let programs = Programs {
                paths: vec![self.path("program")],
                guest: Some(GlibcVersion::new(9, 0)),
                library_path: Vec::new(),
            };
            let workspace = WorkspacePlan {
                root: self.path("tree"),
                trust: Trust::Trusted,
                roots: vec![Root::new(self.path("tree"))],
                target: None,
            };
            Inputs {
                boot: BootFiles::custom(Some(self.path("rootfs")), None, None, None),
                spec: VmSpec::default(),
                programs,
                directories: Vec::new(),
                workspace: Some(workspace),
                command: GuestCommand::new(vec!["program".into(), "--list".into()]),
            }
        }

        async fn digest(&self, change: impl FnOnce(&mut Inputs)) -> String {
            let mut inputs = self.inputs();
            change(&mut inputs);
            inputs.digest(&Layout::under(&self.path("home"))).await.unwrap()
        }
    }

    #[tokio::test]
    async fn whatever_a_command_can_see_counts() {
        let place = Place(tempfile::tempdir().unwrap());
        fs::copy("/bin/true", place.path("program")).unwrap();
        fs::create_dir(place.path("tree")).unwrap();
        fs::write(place.path("tree/cases.txt"), "one").unwrap();
        fs::write(place.path("rootfs"), "").unwrap();
        let first = place.digest(|_| {}).await;
        assert_eq!(place.digest(|_| {}).await, first);

        let argument = place.digest(|inputs| {
            inputs.command = GuestCommand::new(vec!["program".into(), "--ignored".into()]);
        });
        assert_ne!(argument.await, first);
        let variable = place.digest(|inputs| {
            let command = inputs.command.clone();
            inputs.command = command.environment(vec![("K".to_owned(), "V".into())]);
        });
        assert_ne!(variable.await, first);
        let shape = place.digest(|inputs| inputs.spec.ram = 512.try_into().unwrap());
        assert_ne!(shape.await, first);
        assert_ne!(place.digest(|inputs| inputs.workspace = None).await, first);

        fs::write(place.path("tree/cases.txt"), "two").unwrap();
        let file = place.digest(|_| {}).await;
        assert_ne!(file, first);
        fs::copy("/bin/false", place.path("program")).unwrap();
        let program = place.digest(|_| {}).await;
        assert_ne!(program, file);
        fs::write(place.path("rootfs"), "another").unwrap();
        assert_ne!(place.digest(|_| {}).await, program);
    }

    /// The same content at the same path, though built anew.
    #[tokio::test]
    async fn a_program_counts_by_its_content() {
        let place = Place(tempfile::tempdir().unwrap());
        fs::copy("/bin/true", place.path("program")).unwrap();
        fs::create_dir(place.path("tree")).unwrap();
        fs::write(place.path("rootfs"), "").unwrap();
        let first = place.digest(|_| {}).await;
        fs::remove_file(place.path("program")).unwrap();
        fs::copy("/bin/true", place.path("program")).unwrap();
        assert_eq!(place.digest(|_| {}).await, first);
    }

    #[tokio::test]
    async fn a_library_that_comes_along_counts() {
        let place = Place(tempfile::tempdir().unwrap());
        fs::copy("/bin/true", place.path("program")).unwrap();
        let programs = Programs { guest: None, ..place.inputs().programs };
        let files = programs.files().unwrap();
        assert!(files.iter().any(|file| file.file_name() == Some("libc.so.6")), "{files:?}");
    }
}
