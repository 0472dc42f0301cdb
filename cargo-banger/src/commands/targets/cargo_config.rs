//! Cargo's configuration, as cargo itself says: from files, variables and flags, in its own order.

use std::ffi::OsString;
use std::process::Stdio;

use camino::Utf8Path;
use serde_json::Value;
use tokio::process::Command;

use crate::error::CommandError;
use crate::exit_code;

/// Cargo where it is asked.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands) struct CargoConfig<'a> {
    pub(in crate::commands) cargo: &'a Utf8Path,
    pub(in crate::commands) directory: &'a Utf8Path,
    /// Values of `--config`.
    pub(in crate::commands) options: &'a [OsString],
}

impl CargoConfig<'_> {
    /// The targets of `build.target` and `CARGO_BUILD_TARGET`; none where neither is set.
    pub(in crate::commands) async fn build_targets(&self) -> Result<Vec<String>, CommandError> {
        let value = self.get("build.target").await?;
        match value {
            None => Ok(Vec::new()),
            Some(Value::String(target)) => Ok(vec![target]),
            Some(Value::Array(targets)) => {
                let text = |target: &Value| target.as_str().map(str::to_owned);
                let targets: Option<Vec<_>> = targets.iter().map(text).collect();
                targets.ok_or_else(|| unclear("build.target"))
            }
            Some(_) => Err(unclear("build.target")),
        }
    }

    /// What runs the programs of a target, word by word, where its own name says so.
    pub(in crate::commands) async fn runner(
        &self,
        target: &str,
    ) -> Result<Option<Vec<String>>, CommandError> {
        let key = runner_key(target);
        match self.get(&key).await? {
            None => Ok(None),
            Some(Value::String(words)) => {
                Ok(Some(words.split_whitespace().map(str::to_owned).collect()))
            }
            Some(Value::Array(words)) => {
                let words: Option<Vec<_>> = words.iter().map(Value::as_str).collect();
                let words = words.ok_or_else(|| unclear(&key))?;
                Ok(Some(words.into_iter().map(str::to_owned).collect()))
            }
            Some(_) => Err(unclear(&key)),
        }
    }

    /// The same for people, with the file or the variable that says so.
    pub(in crate::commands) async fn runner_with_origin(
        &self,
        target: &str,
    ) -> Result<String, CommandError> {
        let key = runner_key(target);
        let text = self.ask(&[&key, "--show-origin"]).await?;
        Ok(text.map_or_else(|| format!("{key} is not set"), |text| text.trim().to_owned()))
    }

    /// The value of a key, with what lies under it; `None` where it is not set.
    async fn get(&self, key: &str) -> Result<Option<Value>, CommandError> {
        let Some(text) = self.ask(&[key, "--format", "json"]).await? else { return Ok(None) };
        let value: Value = serde_json::from_str(&text).map_err(|_| unclear(key))?;
        let found = key.split('.').try_fold(&value, |value, part| value.get(part));
        found.cloned().map(Some).ok_or_else(|| unclear(key))
    }

    /// Runs `cargo config get`, which cargo has for those only who say that they know it may change;
    /// `None` where the key is not set.
    async fn ask(&self, args: &[&str]) -> Result<Option<String>, CommandError> {
        let mut command = Command::new(self.cargo);
        command.args(["-Zunstable-options", "config", "get"]).args(args);
        for option in self.options {
            command.arg("--config").arg(option);
        }
        command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TERM_COLOR", "never");
        command.current_dir(self.directory).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.map_err(|error| {
            CommandError::new("cannot run cargo", exit_code::HOST_NOT_READY).caused_by(&error)
        })?;
        if output.status.success() {
            return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains(&format!("config value `{}` is not set", args[0])) {
            return Ok(None);
        }
        let mut error = unclear(args[0]);
        error.causes.push(said.trim().to_owned());
        Err(error)
    }
}

fn runner_key(target: &str) -> String {
    format!("target.{target}.runner")
}

/// Cargo that does not say what it would do: then nothing is started.
fn unclear(key: &str) -> CommandError {
    CommandError::usage(format!("cargo does not say what `{key}` is"))
}
