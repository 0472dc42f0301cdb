//! What every command stands on: where it was called, where banger's files are, how to report.

use std::ffi::OsString;

use banger_lifecycle::event::Events;
use banger_lifecycle::rundir::{BootId, Layout};
use banger_lifecycle::teardown;
use camino::Utf8PathBuf;
use etcetera::BaseStrategy as _;

use crate::cli;
use crate::env;
use crate::error::CommandError;
use crate::exit_code;
use crate::report::Reporter;

/// The surroundings of one call.
#[derive(Clone)]
pub(crate) struct Context {
    /// Where banger's files are.
    pub(crate) layout: Layout,
    /// The directory we were called in.
    pub(crate) directory: Utf8PathBuf,
    /// The cargo that called us, or the one on `PATH`.
    pub(crate) cargo: Utf8PathBuf,
    /// Whether cargo started us, as its subcommand.
    pub(crate) through_cargo: bool,
    /// The toolchain that the user chose, not one that cargo's directory did.
    pub(crate) chosen_toolchain: Option<OsString>,
    /// `cargo-banger` itself.
    pub(crate) program: Utf8PathBuf,
    /// The program search path.
    pub(crate) path: Option<OsString>,
    /// Where programs of the host find libraries before anywhere else.
    pub(crate) library_path: Vec<Utf8PathBuf>,
    pub(crate) reporter: Reporter,
    pub(crate) events: Events,
}

impl Context {
    /// Reads the environment: the one place that does, but for settings.
    pub(crate) fn new(reporter: Reporter) -> Result<Self, CommandError> {
        let directory = std::env::current_dir().map_err(|error| {
            CommandError::new("cannot tell the current directory", exit_code::INTERNAL)
                .caused_by(&error)
        })?;
        let cargo = env::read(env::CARGO);
        Ok(Self {
            through_cargo: cargo.is_some() && cli::is_cargos(std::env::args_os()),
            chosen_toolchain: env::read(env::RUSTUP_TOOLCHAIN).filter(|_| cargo.is_none()),
            layout: layout()?.booted(BootId::current()),
            directory: utf8(directory)?,
            cargo: cargo.map_or_else(|| Ok("cargo".into()), |path| utf8(path.into()))?,
            program: utf8(std::env::current_exe()?)?,
            path: std::env::var_os("PATH"),
            library_path: env::read(env::LIBRARY_PATH)
                .iter()
                .flat_map(std::env::split_paths)
                .filter_map(|path| Utf8PathBuf::from_path_buf(path).ok())
                .collect(),
            events: reporter.events(),
            reporter,
        })
    }
}

impl Context {
    /// Checks that nobody else can reach into banger's directories, and makes their roots for a command
    /// that is to put things there.
    pub(crate) fn secure(&self, makes: bool) -> Result<(), CommandError> {
        let secured = if makes { self.layout.prepare() } else { self.layout.check() };
        secured.map_err(|error| CommandError::usage_of(&error, error.hint()))
    }

    /// Clears what dead runs left, and says what it cannot or did not dare to.
    pub(crate) async fn sweep(&self) -> Result<(), CommandError> {
        let found = teardown::sweep(&self.layout).await?;
        for stuck in found.iter().filter(|leftover| leftover.is_stuck()) {
            self.events.warning(format!("not cleared up: {stuck}"), None);
        }
        for suspect in found.iter().filter(|leftover| leftover.is_suspect()) {
            self.events.warning(suspect.to_string(), None);
        }
        Ok(())
    }
}

/// The roots of banger's files: all under `BANGER_HOME`, or where XDG puts them.
fn layout() -> Result<Layout, CommandError> {
    if let Some(home) = env::read(env::HOME) {
        let home = std::path::absolute(home)?;
        return Ok(Layout::under(&utf8(home)?));
    }
    let xdg = etcetera::base_strategy::Xdg::new().map_err(|error| {
        CommandError::usage(format!("cannot tell the home directory: {error}"))
            .hint("set HOME or BANGER_HOME".to_owned())
    })?;
    let cache = utf8(xdg.cache_dir())?.join("banger");
    let state = xdg.state_dir().map(utf8).transpose()?.unwrap_or_else(|| cache.join("state"));
    let state = state.join("banger");
    Ok(Layout::new(cache, state))
}

fn utf8(path: std::path::PathBuf) -> Result<Utf8PathBuf, CommandError> {
    Utf8PathBuf::from_path_buf(path)
        .map_err(|path| CommandError::usage(format!("`{}` is not UTF-8", path.display())))
}
