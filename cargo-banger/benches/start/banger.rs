//! cargo-banger as its users start it, with state of its own for the time of the benchmark.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

use etcetera::BaseStrategy as _;
use fs_err as fs;
use serde_json::Value;
use tempfile::TempDir;

use crate::Result;

/// One measured run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    /// From the start of the process to its end, in ms.
    pub(crate) wall: f64,
    /// What it and its children kept the processors busy for, in ms; to 20 ms.
    pub(crate) busy: f64,
    /// By what means it did what it did: root disk, VMM, accelerator.
    pub(crate) means: String,
    /// Its own stages in ms, in order.
    pub(crate) stages: Vec<(String, f64)>,
    /// What it wrote to standard error.
    pub(crate) told: String,
}

impl Run {
    /// One stage's time in ms.
    pub(crate) fn stage(&self, name: &str) -> Option<f64> {
        self.stages.iter().find(|(stage, _)| stage == name).map(|(_, took)| *took)
    }
}

/// The binary under measurement and its state. Images and layers are the user's own, so that they
/// are built once; runs and workspace disks are removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Banger {
    binary: PathBuf,
    home: TempDir,
}

impl Banger {
    /// Makes the state.
    pub(crate) fn new(binary: &Path) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("banger-bench-").tempdir()?;
        let cache = home.path().join("cache");
        fs::create_dir(&cache)?;
        for shared in ["images", "layers"] {
            let own = user_cache()?.join(shared);
            fs::create_dir_all(&own)?;
            fs_err::os::unix::fs::symlink(own, cache.join(shared))?;
        }
        Ok(Self { binary: binary.to_owned(), home })
    }

    /// The directory with the state, where there is also room for what the benchmark makes.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Forgets what was synced before.
    pub(crate) fn forget_workspaces(&self) -> Result<()> {
        let disks = self.home().join("cache/workspaces");
        if disks.exists() {
            fs::remove_dir_all(disks)?;
        }
        Ok(())
    }

    /// `cargo banger ARGS…` in a directory.
    fn command(&self, directory: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("banger").args(args).current_dir(directory);
        command.env("BANGER_HOME", self.home()).stdin(Stdio::null());
        command
    }

    /// Runs `cargo banger run OPTIONS -- true` in a directory and measures it.
    pub(crate) fn measure(&self, directory: &Path, options: &[&str]) -> Result<Run> {
        let args = [&["run", "--timings=json"], options, &["--", "true"]].concat();
        let (output, run) = timed(&mut self.command(directory, &args))?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let timings = told.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).ok());
        let timings = timings.ok_or("--timings=json printed no JSON")?;
        let means = timings["means"].as_object().into_iter().flatten();
        let means: Vec<_> = means.filter_map(|(_, means)| means.as_str()).collect();
        Ok(Run { stages: stages(&timings), means: means.join(", "), told, ..run })
    }

    /// Starts a VM of the kind that [`Banger::measure`] measures, without a workspace.
    pub(crate) fn open(&self, name: &str, options: &[&str]) -> Result<OpenVm> {
        let command = ["--", "sh", "-c", "echo up; exec cat"];
        let args = [&["run", "--quiet", "--no-sync", "--name", name], options, &command].concat();
        let mut command = self.command(self.home(), &args);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().expect("standard output is piped");
        let vm = OpenVm { child, directory: self.home().join("state/runs").join(name) };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim_end() == "up" { Ok(vm) } else { Err("a VM does not come up".into()) }
    }
}

/// A VM that runs until this is dropped or the benchmark dies: its command reads our pipe to the
/// end.
#[derive(Debug)]
pub(crate) struct OpenVm {
    child: Child,
    directory: PathBuf,
}

impl OpenVm {
    /// Its run directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for OpenVm {
    fn drop(&mut self) {
        // Waiting closes the pipe first.
        if let Err(error) = self.child.wait() {
            eprintln!("a VM's end was not seen: {error}");
        }
    }
}

/// Runs a command to its end and measures it.
///
/// # Errors
/// As [`checked`].
pub(crate) fn timed(command: &mut Command) -> Result<(Output, Run)> {
    let (busy, since) = (children_busy()?, Instant::now());
    let output = checked(command)?;
    let wall = since.elapsed().as_secs_f64() * 1e3;
    Ok((output, Run { wall, busy: children_busy()? - busy, ..Run::default() }))
}

/// Processor time in ms of all children that have ended, and of theirs.
fn children_busy() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The second field, in brackets, may hold spaces; the times are the 16th and 17th.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    let ticks: f64 = fields.skip(13).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks * 1e3 / rustix::param::clock_ticks_per_second() as f64)
}

/// Runs a command to its end.
///
/// # Errors
/// Where it cannot be started or fails, with what it said.
pub(crate) fn checked(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("`{program}`: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(format!("`{program}`: {}: {}", output.status, said.trim_end()).into())
}

/// The first of a program's lines, such as its version.
pub(crate) fn first_line(program: impl AsRef<OsStr>, args: &[&str]) -> String {
    let output = checked(Command::new(program).args(args));
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| Some(text.lines().next()?.to_owned())).unwrap_or_default()
}

/// Where the user's own images are.
fn user_cache() -> Result<PathBuf> {
    if let Some(home) = std::env::var_os("BANGER_HOME") {
        return Ok(std::path::absolute(home)?.join("cache"));
    }
    Ok(etcetera::choose_base_strategy()?.cache_dir().join("banger"))
}

/// The stages that took any time, in the order in which a run goes through them.
fn stages(timings: &Value) -> Vec<(String, f64)> {
    const ORDER: [&str; 10] = [
        "check", "image", "template", "overlay", "boot", "connect", "sync", "command", "fetch",
        "teardown",
    ];
    let took = |stage: &str| timings["stages"][stage].as_f64();
    ORDER.iter().filter_map(|stage| Some(((*stage).to_owned(), took(stage)?))).collect()
}
