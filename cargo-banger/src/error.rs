//! The one error of the command line: what to say, what mends it, and the exit status.

use std::fmt::Display;
use std::time::Duration;

use banger_lifecycle::error::{Cause, Error as RunError};
use banger_lifecycle::event::Stage;
use banger_lifecycle::exec::ExecError;
use banger_lifecycle::image::ImageError;
use banger_lifecycle::network::NetworkError;
use banger_lifecycle::rundir::RunDirError;
use banger_lifecycle::vmm::VmmError;
use banger_protocol::reply::Failure;

use crate::exit_code;

/// An error ready to be printed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CommandError {
    pub(crate) message: String,
    /// What follows the message, one cause a line.
    pub(crate) causes: Vec<String>,
    pub(crate) hint: Option<String>,
    /// The console's last lines.
    pub(crate) console: Option<String>,
    pub(crate) code: u8,
}

impl CommandError {
    /// A wrong command line or setting.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(message, exit_code::USAGE)
    }

    /// Any failure with its status.
    pub(crate) fn new(message: impl Display, code: u8) -> Self {
        let message = message.to_string();
        Self { message, causes: Vec::new(), hint: None, console: None, code }
    }

    /// A signal before there was a command to pass it to, or that the command did not end for.
    pub(crate) fn interrupted() -> Self {
        Self::new("interrupted", exit_code::INTERRUPTED)
    }

    /// A command that was left to itself.
    pub(crate) fn left() -> Self {
        Self::new("left the guest", exit_code::INTERRUPTED)
    }

    /// Something that took too long.
    pub(crate) fn timed_out(what: &str, limit: Duration) -> Self {
        let limit = Duration::from_millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
        let limit = humantime::format_duration(limit);
        Self::new(format!("{what} did not end within {limit}"), exit_code::TIMED_OUT)
    }

    /// Whether somebody wanted it so.
    pub(crate) fn is_interruption(&self) -> bool {
        self.code == exit_code::INTERRUPTED
    }

    /// Whether everything else in this run would meet the same.
    pub(crate) fn concerns_all(&self) -> bool {
        matches!(self.code, exit_code::USAGE | exit_code::HOST_NOT_READY | exit_code::BUILD_FAILED)
    }

    /// All of it, over several lines, without colours.
    pub(crate) fn in_full(self) -> String {
        Failure::from(self).to_string()
    }

    /// What is said of a VM that stays.
    pub(crate) fn kept(name: impl Display) -> String {
        format!(
            "{name} stays: `cargo banger shell {name}` enters it, `cargo banger stop {name}` ends it"
        )
    }

    /// Adds what mends it.
    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into();
        self
    }

    /// A wrong setting or file, as a step of the lifecycle tells it.
    pub(crate) fn usage_of(error: &dyn std::error::Error, hint: Option<String>) -> Self {
        Self::of(error, exit_code::USAGE, hint)
    }

    /// A step's error with its causes.
    pub(crate) fn of(error: &dyn std::error::Error, code: u8, hint: Option<String>) -> Self {
        let this = Self::new(error, code).hint(hint);
        match error.source() {
            Some(cause) => this.caused_by(cause),
            None => this,
        }
    }

    /// Adds the chain of causes of an error.
    pub(crate) fn caused_by(mut self, error: &dyn std::error::Error) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            self.causes.push(error.to_string());
            cause = error.source();
        }
        self
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let CommandError { message, causes, hint, console, code } = error;
        Self { code, message, causes, hint, console }
    }
}

impl From<RunError> for CommandError {
    fn from(error: RunError) -> Self {
        let code = code_of(&error.source, error.stage);
        let hint = error.source.hint();
        let mut this = Self::of(&*error.source, code, hint);
        this.console = error.console.filter(|console| !console.is_empty());
        this
    }
}

impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        Self::new(&error, exit_code::INTERNAL)
    }
}

/// The exit status that a cause has in its stage.
fn code_of(cause: &Cause, stage: Stage) -> u8 {
    match cause {
        Cause::RunDir(RunDirError::NameTaken(_))
        | Cause::NoSuchVm(_)
        | Cause::Network(NetworkError::NoNetwork(_))
        | Cause::Vmm(VmmError::Unsupported { .. })
        | Cause::Exec(ExecError::TooLong { .. } | ExecError::ZeroByte) => exit_code::USAGE,
        Cause::Vmm(VmmError::Start { .. } | VmmError::Version { .. }) | Cause::Network(_) => {
            exit_code::HOST_NOT_READY
        }
        Cause::Image(ImageError::MissingTool { .. }) => exit_code::HOST_NOT_READY,
        Cause::Image(_) | Cause::Layer(_) => exit_code::BUILD_FAILED,
        Cause::Sync(_) => exit_code::TRANSFER_FAILED,
        Cause::Exec(ExecError::Io(_)) => exit_code::INTERNAL,
        _ => match stage {
            Stage::Image | Stage::Template => exit_code::BUILD_FAILED,
            Stage::Check | Stage::Overlay => exit_code::INTERNAL,
            Stage::Boot => exit_code::BOOT_FAILED,
            Stage::Connect | Stage::Sync | Stage::Command => exit_code::GUEST_LOST,
            Stage::Fetch => exit_code::TRANSFER_FAILED,
            Stage::Teardown => exit_code::NOT_CLEAN,
        },
    }
}
