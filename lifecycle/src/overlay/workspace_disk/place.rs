//! Where a workspace's disks are, and the files that are one run's own among them.

use camino::{Utf8Path, Utf8PathBuf};

use crate::overlay::DiskFormat;
use crate::rundir::Layout;

/// The version of how disks are laid out: those of another are not looked at.
const FORMAT: &str = "3";

/// Which of a workspace's disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The sources, as last synced.
    Sources,
    /// What was built of them: `target/`.
    Build,
}

impl Part {
    pub(crate) const ALL: [Self; 2] = [Self::Sources, Self::Build];

    /// Its name among files.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sources => "sources",
            Self::Build => "build",
        }
    }
}

/// Where the disks of one workspace are, for one run.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    layout: Layout,
    dir: Utf8PathBuf,
    workspace: Utf8PathBuf,
    run: String,
    format: DiskFormat,
    size: u64,
}

impl Place {
    /// Of disks of `size` bytes as a guest sees them. Creates nothing.
    pub(crate) fn new(
        layout: &Layout,
        workspace: &Utf8Path,
        run: &str,
        format: DiskFormat,
        size: u64,
    ) -> Self {
        let (layout, workspace) = (layout.clone(), workspace.to_owned());
        let suffix = match format {
            DiskFormat::Qcow2 => "",
            DiskFormat::Raw => "-raw",
        };
        let key = blake3::hash(format!("{FORMAT}\n{size}\n{workspace}").as_bytes()).to_hex();
        let dir = layout.workspaces().join(format!("{}{suffix}", &key[..24]));
        Self { layout, dir, workspace, run: run.to_owned(), format, size }
    }

    /// Every file that the run may make, for its record.
    pub(crate) fn all_own(&self) -> Vec<Utf8PathBuf> {
        Part::ALL.iter().flat_map(|part| self.own(*part)).collect()
    }

    /// The files of one disk that the run may make.
    pub(super) fn own(&self, part: Part) -> [Utf8PathBuf; 2] {
        [self.top(part), self.second_top(part)]
    }

    /// What the run's VM writes to at first.
    pub(super) fn top(&self, part: Part) -> Utf8PathBuf {
        self.dir.join(format!("run-{}.{}", self.run, part.name()))
    }

    /// What it writes to once the first is sealed, or for a VMM that goes on with the first what is
    /// sealed in its place.
    pub(super) fn second_top(&self, part: Part) -> Utf8PathBuf {
        self.dir.join(format!("run-{}.{}-2", self.run, part.name()))
    }

    /// The workspace's own directory.
    pub(super) fn dir(&self) -> &Utf8Path {
        &self.dir
    }

    /// What that is called: a record names it as what its VM uses.
    pub(crate) fn directory_name(&self) -> Option<String> {
        self.dir.file_name().map(str::to_owned)
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Held by whoever changes a head.
    pub(super) fn commit_lock(&self) -> Utf8PathBuf {
        self.dir.join("commit.lock")
    }

    pub(super) fn workspace(&self) -> &Utf8Path {
        &self.workspace
    }

    pub(super) const fn format(&self) -> DiskFormat {
        self.format
    }

    /// A disk's size as a guest sees it, in bytes.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }
}
