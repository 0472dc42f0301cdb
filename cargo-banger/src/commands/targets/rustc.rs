//! What rustc knows of targets.

use std::process::Stdio;

use camino::Utf8PathBuf;
use tokio::process::Command;

use crate::context::Context;
use crate::env;
use crate::error::CommandError;
use crate::exit_code;

/// The compiler that cargo would take.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Rustc {
    program: std::ffi::OsString,
    directory: Utf8PathBuf,
}

/// What it builds for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::commands) struct Known {
    /// The names of all targets.
    pub(super) names: Vec<String>,
    /// Whether guests run what it builds where no target is named.
    pub(super) host_is_supported: bool,
}

impl Rustc {
    pub(in crate::commands) fn of(context: &Context) -> Self {
        let program = env::read(env::RUSTC).unwrap_or_else(|| "rustc".into());
        Self { program, directory: context.directory.clone() }
    }

    /// All targets that it knows.
    pub(super) async fn known(&self) -> Result<Known, CommandError> {
        let output = self.run(&["--print", "target-list", "--print", "cfg"]).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let is_name = |line: &&str| line.contains('-') && !line.contains(['"', '=']);
        let names: Vec<_> = text.lines().filter(is_name).map(str::to_owned).collect();
        if !output.status.success() || names.is_empty() {
            return Err(CommandError::usage("rustc does not say what targets it knows"));
        }
        Ok(Known { names, host_is_supported: runs_in_guests(&text) })
    }

    /// The name of this host's own target.
    pub(in crate::commands) async fn host(&self) -> Result<String, CommandError> {
        let output = self.run(&["-vV"]).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let host = text.lines().find_map(|line| line.strip_prefix("host: "));
        host.map(str::to_owned)
            .ok_or_else(|| CommandError::usage("rustc does not say what this host is"))
    }

    /// Whether guests run what is built for a target.
    pub(in crate::commands) async fn is_supported(
        &self,
        target: &str,
    ) -> Result<bool, CommandError> {
        let mut args = vec!["--print", "cfg", "--target", target];
        if target.ends_with(".json") {
            args.push("-Zunstable-options");
        }
        let output = self.run(&args).await?;
        if !output.status.success() {
            let mut error = CommandError::usage(format!("rustc knows no target `{target}`"));
            let said = String::from_utf8_lossy(&output.stderr);
            error.causes.extend(said.lines().next().map(str::to_owned));
            return Err(error);
        }
        Ok(runs_in_guests(&String::from_utf8_lossy(&output.stdout)))
    }

    async fn run(&self, args: &[&str]) -> Result<std::process::Output, CommandError> {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(&self.directory).stdin(Stdio::null()).kill_on_drop(true);
        if args.contains(&"-Zunstable-options") {
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        command.output().await.map_err(|error| {
            CommandError::new("cannot run rustc", exit_code::HOST_NOT_READY).caused_by(&error)
        })
    }
}

/// Whether programs with this configuration, as rustc prints it, run in a guest: x32 ones do not.
fn runs_in_guests(cfg: &str) -> bool {
    let wanted = ["target_arch=\"x86_64\"", "target_os=\"linux\"", "target_pointer_width=\"64\""];
    wanted.iter().all(|wanted| cfg.lines().any(|line| line == *wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rustc() -> Rustc {
        Rustc { program: "rustc".into(), directory: "/".into() }
    }

    #[tokio::test]
    async fn only_what_a_guest_runs_is_supported() {
        let rustc = rustc();
        let known = rustc.known().await.unwrap();
        assert!(known.host_is_supported);
        assert!(known.names.contains(&rustc.host().await.unwrap()));
        for target in ["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"] {
            assert!(rustc.is_supported(target).await.unwrap(), "{target}");
        }
        let others = [
            "i686-unknown-linux-musl",
            "aarch64-unknown-linux-gnu",
            "x86_64-unknown-linux-gnux32",
            "x86_64-pc-windows-gnu",
            "x86_64-linux-android",
            "wasm32-unknown-unknown",
        ];
        for target in others {
            assert!(!rustc.is_supported(target).await.unwrap(), "{target}");
        }
        let unknown = rustc.is_supported("no-such").await.unwrap_err();
        assert_eq!(unknown.message, "rustc knows no target `no-such`");
    }
}
