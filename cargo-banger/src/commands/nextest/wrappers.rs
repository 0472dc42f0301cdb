//! Wrapper scripts of nextest's configuration: by default nextest starts a test through its wrapper and
//! leaves the runner, and with it the VM, out.

use std::ffi::OsString;

use banger_lifecycle::workspace::Workspace;
use camino::Utf8PathBuf;
use fs_err as fs;
use toml::{Table, Value};

use crate::commands::targets::values;
use crate::context::Context;
use crate::error::CommandError;

/// How a wrapper's `target-runner` leaves the runner out.
const IGNORED: &str = "ignore";

/// Fails where a wrapper script would have tests run on this host.
pub(super) async fn refuse(args: &[OsString], context: &Context) -> Result<(), CommandError> {
    for path in files(args, context).await? {
        // What nextest cannot read it refuses itself.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let Ok(config) = text.parse::<Table>() else { continue };
        if let Some(script) = without_runner(&config) {
            let what = format!(
                "nextest's wrapper script `{script}` runs tests on this host: see `{path}`"
            );
            let hint = "`target-runner = \"within-wrapper\"` has it start them in VMs".to_owned();
            return Err(CommandError::usage(what).hint(hint));
        }
    }
    Ok(())
}

/// The files that nextest would read.
async fn files(args: &[OsString], context: &Context) -> Result<Vec<Utf8PathBuf>, CommandError> {
    let text = |flag: &str| {
        let values = values(args, flag).into_iter();
        values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let mut directory = context.directory.clone();
    if let Some(manifest) = text("--manifest-path").last() {
        directory.push(manifest);
        directory.pop();
    }
    let root = Workspace::locate(&directory, &context.cargo).await.ok().flatten();
    let remapped = text("--workspace-remap").into_iter().map(Utf8PathBuf::from);
    let roots = root.into_iter().chain(remapped);
    let mut files: Vec<_> = roots.map(|root| root.join(".config/nextest.toml")).collect();
    files.extend(text("--config-file").into_iter().map(Utf8PathBuf::from));
    // `TOOL:PATH`
    let of_tools = text("--tool-config-file");
    let path = |value: &String| Some(Utf8PathBuf::from(value.split_once(':')?.1));
    files.extend(of_tools.iter().filter_map(path));
    Ok(files.into_iter().map(|file| context.directory.join(file)).collect())
}

/// The name of a wrapper script with which there would be no VM.
fn without_runner(config: &Table) -> Option<&String> {
    let wrappers = config.get("scripts")?.get("wrapper")?.as_table()?;
    let leaves_out = |script: &Value| {
        script.get("target-runner").and_then(Value::as_str).unwrap_or(IGNORED) == IGNORED
    };
    wrappers.iter().find(|(_, script)| leaves_out(script)).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> bool {
        without_runner(&text.parse().unwrap()).is_some()
    }

    #[test]
    fn wrappers_that_leave_the_runner_out_are_found() {
        assert!(!refused(""));
        assert!(!refused("[scripts.setup.db]\ncommand = 'db'\n"));
        assert!(refused("[scripts.wrapper.w]\ncommand = 'env'\n"));
        assert!(refused("[scripts.wrapper.w]\ncommand = 'env'\ntarget-runner = 'ignore'\n"));
        for how in ["within-wrapper", "around-wrapper", "overrides-wrapper"] {
            assert!(!refused(&format!("[scripts.wrapper.w]\ntarget-runner = '{how}'\n")));
        }
    }
}
