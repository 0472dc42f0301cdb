//! Running the system's tools.

use std::error::Error;
use std::fmt;
use std::process::{Command, Output};

/// A tool that could not be run, or that failed.
#[derive(Debug)]
pub struct ToolError {
    command: String,
    reason: String,
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` failed: {}", self.command, self.reason)
    }
}

impl Error for ToolError {}

/// Runs a command line of plain words and returns what it printed, trimmed.
///
/// # Errors
/// Where it cannot be started or fails; with what it wrote to standard error.
pub fn run(words: &[&str]) -> Result<String, ToolError> {
    let (program, arguments) = words.split_first().expect("a command line has a program");
    let failed = |reason: String| ToolError { command: words.join(" "), reason };
    let output = Command::new(program).args(arguments).output();
    let Output { status, stdout, stderr } = output.map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).trim().to_owned());
    }
    Err(failed(format!("{status}: {}", String::from_utf8_lossy(&stderr).trim())))
}

/// Runs a step of a removal: what is gone already is as good as removed.
pub(crate) fn run_quietly(words: &[&str]) {
    if let Err(error) = run(words) {
        eprintln!("example-kernel: {error}");
    }
}
