//! `cargo banger init`: has cargo, and if asked nextest, run a workspace's programs in VMs.

use std::collections::BTreeSet;

use banger_lifecycle::process::find_program;
use banger_lifecycle::workspace::Workspace;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value};

use super::targets::{CargoConfig, HOST, Rustc, doc_tests, name, refuse_unless};
use crate::cli::InitArgs;
use crate::context::Context;
use crate::error::CommandError;
use crate::exit_code;

/// What cargo starts in a program's place.
const RUNNER: [&str; 3] = ["cargo-banger", "banger", "runner"];

/// What stands for all targets whose programs this host might run by itself.
const NET: &str = "cfg(target_os = \"linux\")";

/// The profile that nextest gets.
const PROFILE: &str = "banger";

pub(crate) async fn init(args: InitArgs, context: &Context) -> Result<u8, CommandError> {
    let workspace = Workspace::load(&context.directory, &context.cargo).await.map_err(|error| {
        CommandError::usage("cannot read the cargo workspace").caused_by(&error)
    })?;
    let workspace =
        workspace.ok_or_else(|| CommandError::usage("there is no Cargo.toml here or above"))?;
    let targets = targets(&args, &workspace.root, context).await?;
    let config = config_in_force(&workspace.root);
    let changed = edit(&config, |document| {
        targets.iter().try_for_each(|target| set_runner(document, target, args.force))?;
        if args.target.is_empty() { set_net(document) } else { Ok(()) }
    })?;
    for directory in directories(&workspace, &context.directory) {
        for target in &targets {
            verify(&directory, target, context).await?;
        }
    }
    tell(context, &config, changed, "programs and tests of this workspace run in VMs");
    if !doc_tests::go_through_runners(context).await? {
        let text = "this cargo runs doc tests on this host: 1.89 is the first that does not";
        context.events.warning(text, Some("`cargo test --all-targets` leaves them out"));
    }
    if find_program(RUNNER[0], context.path.as_deref()).is_none() {
        let text = format!("`{}` is not on PATH: cargo will not find it", RUNNER[0]);
        let hint = "`cargo install --locked cargo-banger` puts it where cargo's programs are";
        context.events.warning(text, Some(hint));
    }
    if args.nextest {
        let config = workspace.root.join(".config/nextest.toml");
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

/// The targets that get the runner: those asked for, or those that cargo builds for in the workspace
/// and this host's own, for which it builds what rustc itself loads.
async fn targets(
    args: &InitArgs,
    root: &Utf8Path,
    context: &Context,
) -> Result<Vec<String>, CommandError> {
    let rustc = Rustc::of(context);
    let mut targets = args.target.clone();
    if targets.is_empty() {
        targets = config_at(root, context).build_targets().await?;
        targets.push(HOST.to_owned());
    }
    let host = rustc.host().await?;
    for target in &mut targets {
        if target == HOST {
            target.clone_from(&host);
        }
        refuse_unless(rustc.is_supported(target).await?, target)?;
        *target = name(target);
    }
    targets.sort();
    targets.dedup();
    Ok(targets)
}

fn config_at<'a>(directory: &'a Utf8Path, context: &'a Context) -> CargoConfig<'a> {
    CargoConfig { cargo: &context.cargo, directory, options: &[] }
}

/// A directory's configuration: cargo prefers the old name where there are both.
fn config_in_force(directory: &Utf8Path) -> Utf8PathBuf {
    let old = directory.join(".cargo/config");
    if old.exists() { old } else { directory.join(".cargo/config.toml") }
}

/// From where cargo may be called, as far as it would read something else: the workspace's root, where
/// we were called, and what lies between the root and a member with a configuration of its own.
fn directories(workspace: &Workspace, here: &Utf8Path) -> BTreeSet<Utf8PathBuf> {
    let root = &workspace.root;
    let members = workspace.members.iter().flat_map(|member| member.dir.ancestors());
    let nearer = members.filter(|directory| {
        *directory != root && !root.starts_with(directory) && config_in_force(directory).exists()
    });
    nearer.chain([root.as_path(), here]).map(Utf8Path::to_owned).collect()
}

/// Fails where cargo, called there, would run a target's programs through anything else.
async fn verify(directory: &Utf8Path, target: &str, context: &Context) -> Result<(), CommandError> {
    let config = config_at(directory, context);
    if config.runner(target).await?.is_some_and(|words| is_ours(&words)) {
        return Ok(());
    }
    let message = format!(
        "in `{directory}` cargo does not run programs for `{target}` in VMs: something else wins"
    );
    let mut error = CommandError::usage(message);
    error.causes.push(config.runner_with_origin(target).await?);
    let hint = "take it out there, and run `cargo banger init` again".to_owned();
    Err(error.hint(hint))
}

/// Whether a runner is this one, wherever it was installed and with whatever settings.
fn is_ours(words: &[String]) -> bool {
    let [program, command, runner, ..] = words else { return false };
    Utf8Path::new(program).file_name() == Some(RUNNER[0])
        && [command, runner] == [RUNNER[1], RUNNER[2]]
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
    let targets = table(document.as_table_mut(), "target", true)?;
    let target_table = table(targets, target, false)?;
    match target_table.get("runner").map(words) {
        Some(words) if is_ours(&words) => Ok(()),
        Some(_) if !force => Err(format!("target `{target}` has a runner already")),
        _ => {
            target_table.insert("runner", runner());
            Ok(())
        }
    }
}

/// Has what is built for a target that nobody named run through us too, which refuses what guests
/// cannot run; unless the file already says what is to run such programs.
fn set_net(document: &mut DocumentMut) -> Result<(), String> {
    let targets = table(document.as_table_mut(), "target", true)?;
    let has_one =
        |(name, target): (&str, &Item)| name.starts_with("cfg(") && target.get("runner").is_some();
    if !targets.iter().any(has_one) {
        table(targets, NET, false)?.insert("runner", runner());
    }
    Ok(())
}

fn runner() -> Item {
    Item::Value(Value::Array(Array::from_iter(RUNNER)))
}

/// The words of a runner, which cargo takes as one text too.
fn words(runner: &Item) -> Vec<String> {
    match (runner.as_str(), runner.as_array()) {
        (Some(text), _) => text.split_whitespace().map(str::to_owned).collect(),
        (_, Some(array)) => array.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
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
    fn a_runner_is_ours_as_text_too_and_with_settings() {
        for text in [
            "[target.x86_64-unknown-linux-gnu]\nrunner = \"cargo-banger banger runner\"\n",
            "[target.x86_64-unknown-linux-gnu]\nrunner = [\"/b/cargo-banger\", \"banger\", \"runner\", \"--ram\", \"512\"]\n",
        ] {
            assert_eq!(with_runner(text, false).unwrap(), text);
        }
        let other = "[target.x86_64-unknown-linux-gnu]\nrunner = \"cargo-banger banger run\"\n";
        assert!(with_runner(other, false).is_err());
    }

    #[test]
    fn targets_that_nobody_named_run_through_us_too() {
        let net = |text: &str| {
            let mut document: DocumentMut = text.parse().unwrap();
            set_net(&mut document).unwrap();
            document.to_string()
        };
        let once = net("");
        assert!(once.starts_with("[target.'cfg(target_os = \"linux\")']\nrunner = ["), "{once}");
        assert_eq!(net(&once), once);
        let own = "[target.'cfg(unix)']\nrunner = \"mine\"\n";
        assert_eq!(net(own), own);
    }

    #[test]
    fn the_configuration_that_cargo_prefers_is_the_one_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        assert_eq!(config_in_force(dir), dir.join(".cargo/config.toml"));
        fs::create_dir(dir.join(".cargo")).unwrap();
        fs::write(dir.join(".cargo/config.toml"), "").unwrap();
        fs::write(dir.join(".cargo/config"), "").unwrap();
        assert_eq!(config_in_force(dir), dir.join(".cargo/config"));
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
