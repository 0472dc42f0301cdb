//! Firecracker: its process, and the API on its socket.
//!
//! It runs in the VM's directory and is told of disks and sockets by their names in it, so that a
//! clone, which gets the names from its template's state, finds its own files under them. The
//! guest's serial port is the process's standard input and output; the guest is reached over vsock.

mod api;
mod fault;
pub mod release;
mod setup;
mod version;

use std::os::fd::AsFd as _;
use std::time::Duration;

use camino::Utf8Path;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

pub(crate) use self::api::Api;
pub(crate) use self::fault::remedy;
pub(crate) use self::setup::{Setup, disk_device, disk_name};
use super::{Config, VmmError, log_path};
use crate::session::arrival::Arrival;
use crate::session::vsock;

/// The program.
pub(crate) const PROGRAM: &str = "firecracker";

/// Its API socket, and the socket that leads to the guest's vsock, in the VM's directory.
const API: &str = "api.sock";
pub(crate) const VSOCK: &str = "vsock.sock";

/// What it counts, an object a minute and one at its end, in the VM's directory.
const METRICS: &str = "metrics.json";

/// The vsock port on which the guest's agent takes batches.
const AGENT_PORT: u32 = 1024;

/// How long it may take until its API answers.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What is run, and where.
pub(crate) fn command(config: &Config, run_dir: &Utf8Path) -> std::io::Result<Command> {
    let mut command = Command::new(&config.program);
    if let Some(namespace) = &config.namespace {
        enter_network(&mut command, fs_err::File::open(namespace)?);
    }
    command.current_dir(run_dir).args(["--api-sock", API, "--id", "vm"]);
    // A path in the VM's directory, by which the process is known as the VM's.
    command.args(["--log-path", log_path(run_dir).as_str(), "--level", "Warn"]);
    fs_err::File::create(run_dir.join(METRICS))?;
    command.args(["--metrics-path", METRICS]);
    Ok(command)
}

/// Has the child run in a network namespace.
fn enter_network(command: &mut Command, namespace: fs_err::File) {
    let enter = move || {
        let kind = Some(LinkNameSpaceType::Network);
        Ok(move_into_link_name_space(namespace.as_fd(), kind)?)
    };
    // SAFETY: between fork and exec only setns runs, which is async-signal-safe.
    unsafe { command.pre_exec(enter) };
}

/// Waits for the API of a process that has just been started.
pub(crate) async fn connect(
    child: &mut Child,
    arrival: Arrival,
    run_dir: &Utf8Path,
) -> Result<Api, VmmError> {
    tokio::select! {
        api = tokio::time::timeout(START_LIMIT, listening(arrival, run_dir)) => {
            api.unwrap_or_else(|late| Err(VmmError::Control(late.into())))
        }
        status = child.wait() => {
            Err(VmmError::Ended { status: status?, stderr: String::new() })
        }
    }
}

/// Waits until somebody listens on the API's socket, which is there a moment before.
async fn listening(arrival: Arrival, run_dir: &Utf8Path) -> Result<Api, VmmError> {
    arrival.wait().await?;
    let api = Api::new(&run_dir.join(API))?;
    while !api.is_there().await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    version::check(&api.version().await?)?;
    Ok(api)
}

/// A watch on the API's socket, to be made before the process is. Removes the sockets of one that
/// was here before.
pub(crate) fn arrival(run_dir: &Utf8Path) -> std::io::Result<Arrival> {
    for socket in [API, VSOCK] {
        match fs_err::remove_file(run_dir.join(socket)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Arrival::watch(&run_dir.join(API))
}

/// A connection to the guest's agent.
pub(crate) async fn agent(run_dir: &Utf8Path) -> Result<UnixStream, VmmError> {
    vsock::connect(&run_dir.join(VSOCK), AGENT_PORT).await.map_err(VmmError::Control)
}
