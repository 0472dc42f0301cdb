//! What of cargo's and nextest's command line decides for which targets is built, and what runs that.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use camino::Utf8Path;
use fs_err as fs;
use toml::{Table, Value};

use crate::error::CommandError;

/// Those arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    /// The values of `--target`.
    pub(super) targets: Vec<String>,
    /// The values of `--config`.
    pub(super) configs: Vec<OsString>,
}

impl Arguments {
    /// Reads a command line up to `--`, behind which all is for tests.
    pub(super) fn of(args: &[OsString]) -> Self {
        let targets = values(args, "--target").into_iter();
        Self {
            targets: targets.map(|target| target.to_string_lossy().into_owned()).collect(),
            configs: values(args, "--config"),
        }
    }

    /// Refuses runners of the user's own: they would win over ours, and run programs here.
    pub(super) fn refuse_runners(&self, directory: &Utf8Path) -> Result<(), CommandError> {
        for config in &self.configs {
            let text = config.display();
            let unclear = || CommandError::usage(format!("cannot understand `--config {text}`"));
            let table = table(config, directory).ok_or_else(unclear)?;
            if has_runner(&table) {
                let what =
                    format!("`--config {text}` sets a runner, which would run programs here");
                let hint = "leave it out, or use cargo without `banger`".to_owned();
                return Err(CommandError::usage(what).hint(hint));
            }
        }
        Ok(())
    }
}

/// The values of a flag, as `--flag value` or `--flag=value`, up to `--`.
pub(in crate::commands) fn values(args: &[OsString], flag: &str) -> Vec<OsString> {
    let mut values = Vec::new();
    let mut args = args.iter().take_while(|argument| *argument != "--");
    while let Some(argument) = args.next() {
        match argument.as_bytes().strip_prefix(flag.as_bytes()) {
            Some([]) => values.extend(args.next().cloned()),
            Some([b'=', value @ ..]) => values.push(OsString::from_vec(value.to_vec())),
            _ => {}
        }
    }
    values
}

/// A value of `--config`: a file's content where there is one of that name, else itself.
fn table(config: &OsStr, directory: &Utf8Path) -> Option<Table> {
    let path = directory.as_std_path().join(config);
    let text = match path.exists() {
        true => fs::read_to_string(path).ok()?,
        false => config.to_str()?.to_owned(),
    };
    text.parse().ok()
}

/// Whether a configuration names what runs programs, or takes in others that may.
fn has_runner(table: &Table) -> bool {
    let runner = |value: &Value| value.as_table().is_some_and(|it| it.contains_key("runner"));
    let target = table.get("target").and_then(Value::as_table);
    table.contains_key("include") || target.is_some_and(|target| target.values().any(runner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(args: &str) -> Arguments {
        Arguments::of(&args.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn targets_are_found_in_every_form_and_only_cargos() {
        let args =
            of("-p x --target a --target=b --config c=1 --config=d --config-file e -- --target f");
        assert_eq!(args.targets, ["a", "b"]);
        assert_eq!(args.configs, ["c=1", "d"]);
        assert_eq!(of("--target-dir x --targets"), Arguments::default());
    }

    #[test]
    fn runners_of_the_users_own_are_refused_and_what_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let refused = |config: &str| {
            let args = Arguments { configs: vec![config.into()], ..Arguments::default() };
            args.refuse_runners(dir).map_err(|error| error.message)
        };
        refused("build.jobs=1").unwrap();
        refused("target.x.linker='ld'").unwrap();
        assert!(refused("target.x.runner='y'").unwrap_err().contains("sets a runner"));
        let cfg = "target.'cfg(all())'.runner=['y']";
        assert!(refused(cfg).unwrap_err().contains("sets a runner"));
        assert!(refused("no.toml").unwrap_err().contains("cannot understand"));
        fs::write(dir.join("own.toml"), "[target.x]\nrunner = 'y'\n").unwrap();
        assert!(refused("own.toml").unwrap_err().contains("sets a runner"));
        fs::write(dir.join("more.toml"), "include = ['own.toml']\n").unwrap();
        assert!(refused("more.toml").unwrap_err().contains("sets a runner"));
    }
}
