//! The one error of a whole run: which stage failed, why, and the console's last lines.

use crate::event::Stage;
use crate::exec::ExecError;
use crate::image::ImageError;
use crate::layer::LayerError;
use crate::network::NetworkError;
use crate::overlay::OverlayError;
use crate::rundir::RunDirError;
use crate::session::SessionError;
use crate::sync::SyncError;
use crate::template::TemplateError;
use crate::vmm::VmmError;

/// A stage failed.
#[derive(Debug, thiserror::Error)]
#[error("{stage} failed")]
pub struct Error {
    /// Which one.
    pub stage: Stage,
    /// The last lines of the guest's console, where there is one.
    pub console: Option<String>,
    /// Why.
    #[source]
    pub source: Box<Cause>,
}

/// Why a stage failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant is the error of the module it names")]
pub enum Cause {
    Image(#[from] ImageError),
    Layer(#[from] LayerError),
    RunDir(#[from] RunDirError),
    Overlay(#[from] OverlayError),
    Network(#[from] NetworkError),
    Template(#[from] TemplateError),
    Vmm(#[from] VmmError),
    Session(#[from] SessionError),
    Sync(#[from] SyncError),
    Exec(#[from] ExecError),
    Io(#[from] std::io::Error),
    /// No VM has that name.
    #[error("no VM is named `{0}`")]
    NoSuchVm(crate::spec::VmName),
}

impl From<TemplateError> for Error {
    fn from(error: TemplateError) -> Self {
        Cause::from(error).during(Stage::Template)
    }
}

impl Cause {
    /// The failure of a stage.
    #[must_use]
    pub fn during(self, stage: Stage) -> Error {
        Error { stage, console: None, source: Box::new(self) }
    }

    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Image(error) => error.hint(),
            Self::Layer(error) => error.hint(),
            Self::RunDir(error) => error.hint(),
            Self::Overlay(error) => error.hint(),
            Self::Network(error) => error.hint(),
            Self::Template(error) => error.hint(),
            Self::Vmm(error) => error.hint(),
            Self::Session(error) => error.hint(),
            Self::Sync(error) => error.hint(),
            Self::NoSuchVm(_) => Some("`cargo banger ps` lists those that run".to_owned()),
            Self::Exec(error) => error.hint(),
            Self::Io(_) => None,
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Puts the stage to a step's error.
pub(crate) trait During<T> {
    /// Names the stage that failed.
    fn during(self, stage: Stage) -> Result<T, Error>;
}

impl<T, E: Into<Cause>> During<T> for Result<T, E> {
    fn during(self, stage: Stage) -> Result<T, Error> {
        self.map_err(|error| error.into().during(stage))
    }
}
