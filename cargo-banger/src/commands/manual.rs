//! Completion scripts and manual pages, generated from the command line's own definition.

use camino::Utf8Path;
use clap::CommandFactory as _;
use fs_err as fs;

use crate::cli::Cargo;
use crate::error::CommandError;

/// Prints a completion script for `cargo-banger`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<u8, CommandError> {
    let mut command = Cargo::command();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "cargo-banger", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(0)
}

/// Writes one page a command into `directory`.
pub(crate) fn pages(directory: &Utf8Path) -> Result<u8, CommandError> {
    fs::create_dir_all(directory)?;
    let mut cargo = Cargo::command();
    cargo.build();
    let banger = cargo.find_subcommand("banger").expect("banger is cargo's only subcommand here");
    write_page(directory, "cargo-banger", banger)?;
    for command in banger.get_subcommands() {
        write_page(directory, &format!("cargo-banger-{}", command.get_name()), command)?;
    }
    Ok(0)
}

fn write_page(
    directory: &Utf8Path,
    name: &str,
    command: &clap::Command,
) -> Result<(), CommandError> {
    let page = clap_mangen::Man::new(command.clone()).title(name);
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(directory.join(format!("{name}.1")), text)?;
    Ok(())
}
