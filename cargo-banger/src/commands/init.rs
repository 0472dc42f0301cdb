//! `cargo banger init`: has cargo, and if asked nextest, run a workspace's programs in VMs.

use banger_lifecycle::workspace::Workspace;
use camino::Utf8Path;
use fs_err as fs;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value};

use crate::cli::InitArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;

/// What cargo starts in a program's place.
const RUNNER: [&str; 3] = ["cargo-banger", "banger", "runner"];

/// The profile that nextest gets.
const PROFILE: &str = "banger";

pub(crate) async fn init(args: InitArgs, context: &Context) -> Result<u8, CommandError> {
    let root = Workspace::locate(&context.directory, &context.cargo).await.map_err(|error| {
        CommandError::usage("cannot read the cargo workspace").caused_by(&error)
    })?;
    let root = root.ok_or_else(|| CommandError::usage("there is no Cargo.toml here or above"))?;
    let config = root.join(".cargo/config.toml");
    let changed = edit(&config, |document| set_runner(document, &args.target, args.force))?;
    tell(context, &config, changed, "programs and tests of this workspace run in VMs");
    if args.nextest {
        let config = root.join(".config/nextest.toml");
        let changed = edit(&config, set_profile)?;
        tell(
            context,
            &config,
            changed,
            "`cargo nextest run --profile banger` ends tests that hang",
        );
    }
    Ok(0)
}

fn tell(context: &Context, path: &Utf8Path, changed: bool, what: &str) {
    let did = if changed { "wrote" } else { "nothing to change in" };
    context.events.note(format!("{did} {path}: {what}"));
}

/// Changes a file, keeping what else is in it. Returns whether there was anything to change.
fn edit(
    path: &Utf8Path,
    change: impl FnOnce(&mut DocumentMut) -> Result<(), String>,
) -> Result<bool, CommandError> {
    let old = if path.exists() { fs::read_to_string(path)? } else { String::new() };
    let mut document: DocumentMut = old.parse().map_err(|error: toml_edit::TomlError| {
        CommandError::new(format!("cannot understand `{path}`"), exit_code::USAGE).caused_by(&error)
    })?;
    change(&mut document).map_err(|why| {
        let error = CommandError::usage(format!("`{path}`: {why}"));
        error.hint("`--force` replaces it".to_owned())
    })?;
    let new = document.to_string();
    if new == old {
        return Ok(false);
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, new)?;
    Ok(true)
}

fn set_runner(document: &mut DocumentMut, target: &str, force: bool) -> Result<(), String> {
    let mut runner = Array::new();
    runner.extend(RUNNER);
    let targets = table(document.as_table_mut(), "target", true)?;
    let target_table = table(targets, target, false)?;
    match target_table.get("runner") {
        Some(other) if other.as_array().is_some_and(|other| same(other, &runner)) => Ok(()),
        Some(_) if !force => Err(format!("target `{target}` has a runner already")),
        _ => {
            target_table.insert("runner", Item::Value(Value::Array(runner)));
            Ok(())
        }
    }
}

/// Tests that hang are ended after two minutes; a VM goes with its test in any case.
fn set_profile(document: &mut DocumentMut) -> Result<(), String> {
    let profiles = table(document.as_table_mut(), "profile", true)?;
    if profiles.contains_key(PROFILE) {
        return Ok(());
    }
    let mut limit = InlineTable::new();
    limit.insert("period", "60s".into());
    limit.insert("terminate-after", 2.into());
    let profile = table(profiles, PROFILE, false)?;
    profile.insert("slow-timeout", Item::Value(Value::InlineTable(limit)));
    Ok(())
}

/// The table of that name, made where it is not there.
fn table<'a>(parent: &'a mut Table, name: &str, implicit: bool) -> Result<&'a mut Table, String> {
    let made = || {
        let mut table = Table::new();
        table.set_implicit(implicit);
        Item::Table(table)
    };
    let item = parent.entry(name).or_insert_with(made);
    item.as_table_mut().ok_or_else(|| format!("`{name}` is not a table of its own"))
}

fn same(one: &Array, other: &Array) -> bool {
    one.iter().map(Value::as_str).eq(other.iter().map(Value::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_runner(text: &str, force: bool) -> Result<String, String> {
        let mut document: DocumentMut = text.parse().unwrap();
        set_runner(&mut document, "x86_64-unknown-linux-gnu", force)?;
        Ok(document.to_string())
    }

    #[test]
    fn what_else_is_in_a_file_stays_and_twice_is_once() {
        let text = "# mine\n[alias]\nt = \"test\" # short\n";
        let once = with_runner(text, false).unwrap();
        assert!(once.starts_with(text), "{once}");
        assert!(once.contains("[target.x86_64-unknown-linux-gnu]\nrunner = [\"cargo-banger\", \"banger\", \"runner\"]"), "{once}");
        assert_eq!(with_runner(&once, false).unwrap(), once);
    }

    #[test]
    fn another_runner_is_replaced_by_force_only() {
        let text = "[target.x86_64-unknown-linux-gnu]\nrunner = \"qemu\"\n";
        assert!(with_runner(text, false).unwrap_err().contains("has a runner already"));
        assert!(!with_runner(text, true).unwrap().contains("qemu"));
    }

    #[test]
    fn nextest_gets_a_profile() {
        let mut document = DocumentMut::new();
        set_profile(&mut document).unwrap();
        let expected =
            "[profile.banger]\nslow-timeout = { period = \"60s\", terminate-after = 2 }\n";
        assert_eq!(document.to_string(), expected);
    }
}
