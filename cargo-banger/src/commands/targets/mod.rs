//! Which targets cargo is about to build for: known, and refused where guests cannot run them, before
//! anything is built; and the variables that have whatever is built run through a command of ours.
//!
//! | targets | from |
//! |---|---|
//! | in force | `--target`, else `CARGO_BUILD_TARGET` and `build.target`, as cargo says, else the host's |
//! | with a runner | those, and all that rustc knows: what should slip through is run by us, too, and refused |

mod arguments;
mod cargo_config;
pub(super) mod doc_tests;
mod rustc;

use std::ffi::OsString;

use self::arguments::Arguments;
pub(super) use self::arguments::values;
pub(super) use self::cargo_config::CargoConfig;
pub(super) use self::rustc::Rustc;
use crate::context::Context;
use crate::error::CommandError;
use crate::settings::{Flags, variable};

/// What cargo calls this host's own target.
pub(super) const HOST: &str = "host-tuple";

/// Targets that have a runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Targets(Vec<String>);

impl Targets {
    /// Reads a command line of cargo's or nextest's, and asks cargo for what is not in it.
    pub(super) async fn check(args: &[OsString], context: &Context) -> Result<Self, CommandError> {
        let arguments = Arguments::of(args);
        arguments.refuse_runners(&context.directory)?;
        let rustc = Rustc::of(context);
        let config = CargoConfig {
            cargo: &context.cargo,
            directory: &context.directory,
            options: &arguments.configs,
        };
        let in_force = async {
            match arguments.targets.is_empty() {
                true => config.build_targets().await,
                false => Ok(arguments.targets.clone()),
            }
        };
        let (in_force, known) = tokio::try_join!(in_force, rustc.known())?;
        if in_force.is_empty() {
            refuse_unless(known.host_is_supported, HOST)?;
        }
        for target in &in_force {
            let is_host = target == HOST;
            let supported =
                if is_host { known.host_is_supported } else { rustc.is_supported(target).await? };
            refuse_unless(supported, target)?;
        }
        let custom = in_force.iter().map(|target| name(target));
        let custom = custom.filter(|name| name != HOST && !known.names.contains(name));
        let mut all = known.names.clone();
        all.extend(custom.collect::<Vec<_>>());
        Ok(Self(all))
    }

    /// The variables that have cargo and nextest run executables through a command of ours, with
    /// these settings. Cargo splits their values at spaces.
    pub(super) fn variables(
        &self,
        words: &[&str],
        flags: &Flags,
    ) -> Result<Vec<(String, String)>, CommandError> {
        let own = std::env::current_exe()?;
        let own = own.to_str().filter(|path| !path.contains(char::is_whitespace));
        let own = own.ok_or_else(|| {
            let own = std::env::current_exe().unwrap_or_default();
            let message = format!(
                "cargo cannot run `{}`: its path has a space or is not UTF-8",
                own.display()
            );
            CommandError::usage(message).hint("install cargo-banger somewhere else".to_owned())
        })?;
        let words = [own, "banger"].into_iter().chain(words.iter().copied());
        let value = words.collect::<Vec<_>>().join(" ");
        let runners = self.0.iter().map(|target| (runner_variable(target), value.clone()));
        let settings = flags.iter().map(|(key, value)| (variable(key).to_owned(), value.clone()));
        Ok(runners.chain(settings).collect())
    }
}

/// The variable that names a target's runner.
fn runner_variable(target: &str) -> String {
    let target: String = target
        .to_uppercase()
        .chars()
        .map(|c| if matches!(c, '-' | '.') { '_' } else { c })
        .collect();
    format!("CARGO_TARGET_{target}_RUNNER")
}

/// What cargo calls a target in its configuration: a file of one's own by its name.
pub(super) fn name(target: &str) -> String {
    let file = target.rsplit('/').next().unwrap_or(target);
    file.strip_suffix(".json").unwrap_or(target).to_owned()
}

/// An error for a target whose programs guests do not run.
pub(super) fn refuse_unless(supported: bool, target: &str) -> Result<(), CommandError> {
    if supported {
        return Ok(());
    }
    let message = format!("target `{target}` is unsupported: guests run x86_64 Linux programs");
    let hint = "`--target x86_64-unknown-linux-gnu` builds for guests; where no `--target` is given, \
                `CARGO_BUILD_TARGET` and cargo's `build.target` decide";
    Err(CommandError::usage(message).hint(hint.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_gets_the_variable_that_cargo_reads() {
        let targets = Targets(vec!["x86_64-unknown-linux-musl".to_owned(), "mine".to_owned()]);
        let flags = Flags::from([("ram", "512".to_owned())]);
        let variables = targets.variables(&["runner"], &flags).unwrap();
        let names: Vec<_> = variables.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUNNER",
            "CARGO_TARGET_MINE_RUNNER",
            "BANGER_RAM",
        ];
        assert_eq!(names, expected);
        assert!(variables[0].1.ends_with(" banger runner"));
    }

    #[test]
    fn a_target_file_is_known_by_its_name() {
        assert_eq!(name("targets/mine.json"), "mine");
        assert_eq!(name("x86_64-unknown-linux-gnu"), "x86_64-unknown-linux-gnu");
    }
}
