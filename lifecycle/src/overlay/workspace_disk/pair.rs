//! Both disks of a workspace, from a run's start to its end.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};

use super::{DISK_BUDGET, Part, Place, WorkspaceDisk, tidy, trim_disks};
use crate::overlay::OverlayError;

/// A workspace's disks, as one run has them. Dropping them removes what is private.
#[must_use = "dropping the disks removes them"]
#[derive(Debug)]
pub(crate) struct WorkspaceDisks {
    pub(crate) sources: WorkspaceDisk,
    /// Where the run may build.
    pub(crate) build: Option<WorkspaceDisk>,
    place: Place,
    /// Whether the run has made a generation.
    published: bool,
}

/// What came of a run's disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Whether what was built is there for the next run.
    pub(crate) build: bool,
    /// Workspaces whose disks had to make room.
    pub(crate) trimmed: Vec<Utf8PathBuf>,
}

impl WorkspaceDisks {
    /// Opens private tops over what the last run left.
    pub(crate) async fn open(place: Place, builds: bool) -> Result<Self, OverlayError> {
        let sources = WorkspaceDisk::open(&place, Part::Sources).await?;
        let build = match builds {
            true => Some(WorkspaceDisk::open(&place, Part::Build).await?),
            false => None,
        };
        Ok(Self { sources, build, place, published: false })
    }

    /// One of them, where the run has it.
    pub(crate) fn get(&self, part: Part) -> Option<&WorkspaceDisk> {
        match part {
            Part::Sources => Some(&self.sources),
            Part::Build => self.build.as_ref(),
        }
    }

    /// Begins anew with private tops: those that are `doubted` over nothing at all, with the
    /// generations that they stood on forgotten. The VM must have ended.
    pub(crate) async fn start_over(&mut self, doubted: &[Part]) -> Result<(), OverlayError> {
        self.sources.start_over(doubted.contains(&Part::Sources)).await?;
        if let Some(build) = &mut self.build {
            build.start_over(doubted.contains(&Part::Build)).await?;
        }
        Ok(())
    }

    /// Makes the sources that were sealed the newest generation, as [`WorkspaceDisk::publish`] does.
    pub(crate) async fn publish_sources(
        &mut self,
        roots: &[String],
        save: impl Fn(&str, &Utf8Path) -> io::Result<()>,
    ) -> Result<(), OverlayError> {
        self.published |= self.sources.publish(roots, save).await?;
        Ok(())
    }

    /// Whether a text names one of the disks' files.
    pub(crate) fn are_named_in(&self, text: &str) -> bool {
        text.contains(self.place.dir().as_str())
    }

    /// Ends the run's use of them, once its VM has ended: keeps what was built, where that is `whole` and
    /// of sources that were `changed`, or much; and has the disks of all workspaces stay within their
    /// budget.
    pub(crate) async fn finish(self, whole: bool, changed: bool) -> Result<Kept, OverlayError> {
        let Self { sources, build, place, mut published } = self;
        drop(sources);
        let mut kept = Kept::default();
        match build {
            Some(build) if whole && (changed || build.dirty()?) => {
                kept.build = build.commit().await?
            }
            other => drop(other),
        }
        published |= kept.build;
        if published {
            tidy(&place).await?;
            kept.trimmed = trim_disks(place.layout(), DISK_BUDGET)?;
        }
        Ok(kept)
    }

    /// Leaves them to a VM that stays; who ends that removes what is private by its record.
    pub(crate) fn leave(self) {
        std::mem::forget(self);
    }
}
