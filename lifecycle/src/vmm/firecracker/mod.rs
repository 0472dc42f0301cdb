//! Firecracker: its process, and the API on its socket.
//!
//! It runs in the VM's directory, or in a jail below it ([`home`]), and is told of disks and sockets by
//! their names in it, so that a clone, which gets the names from its template's state, finds its own
//! files under them. The
//! guest's serial port is the process's standard input and output; the guest is reached over vsock.

mod api;
mod arrival;
mod fault;
mod home;
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
use self::arrival::Arrival;
pub(crate) use self::fault::remedy;
pub(crate) use self::home::{Home, jail_user};
pub(crate) use self::setup::{Setup, disk_device, disk_name};
use super::{Config, VmmError};
use crate::process::unless_gone;
use crate::session::vsock;

/// The program, and the one that confines it.
pub(crate) const PROGRAM: &str = "firecracker";
pub(crate) const JAILER: &str = "jailer";

/// Its API socket, and the socket that leads to the guest's vsock, in the VM's directory.
const API: &str = "api.sock";
pub(crate) const VSOCK: &str = "vsock.sock";

/// What it counts, an object a minute and one at its end, in the VM's directory; and the pipe that it
/// writes that to, where it runs.
pub(crate) const METRICS: &str = "metrics.json";
pub(crate) const METRICS_PIPE: &str = "metrics.pipe";

/// The same for what it has to say, which a guest can have it do without end.
pub(crate) const LOG: &str = "firecracker.log";
pub(crate) const LOG_PIPE: &str = "firecracker.pipe";

/// The vsock ports on which the guest's agent takes batches, and runs commands.
pub(crate) const BATCHES: u32 = 1024;
pub(crate) const COMMANDS: u32 = 1025;

/// How long it may take until its API answers.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What is run, and where.
pub(crate) fn command(config: &Config, run_dir: &Utf8Path) -> std::io::Result<Command> {
    let Config { home, namespace, .. } = config;
    let mut command = home.command(&config.program, namespace.as_deref())?;
    if let (Some(namespace), false) = (namespace, home.is_jail()) {
        enter_network(&mut command, fs_err::File::open(namespace)?);
    }
    home.make_pipe(METRICS_PIPE)?;
    home.make_pipe(LOG_PIPE)?;
    command.args(["--api-sock", API, "--level", "Warn", "--metrics-path", METRICS_PIPE]);
    command.arg("--log-path");
    if home.is_jail() {
        command.arg(LOG_PIPE);
    } else {
        // A path in the VM's directory, by which the process is known as the VM's.
        command.arg(run_dir.join(LOG_PIPE));
    }
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
    home: &Utf8Path,
) -> Result<Api, VmmError> {
    tokio::select! {
        api = tokio::time::timeout(START_LIMIT, listening(arrival, home)) => {
            api.unwrap_or_else(|late| Err(VmmError::Control(late.into())))
        }
        status = child.wait() => {
            Err(VmmError::Ended { status: status?, stderr: String::new() })
        }
    }
}

/// Waits until somebody listens on the API's socket, which is there a moment before.
async fn listening(arrival: Arrival, home: &Utf8Path) -> Result<Api, VmmError> {
    arrival.wait().await?;
    let api = Api::new(&home.join(API))?;
    while !api.is_there().await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    version::check(&api.version().await?)?;
    Ok(api)
}

/// A watch on the API's socket, to be made before the process is. Removes the sockets of one that
/// was here before.
pub(crate) fn arrival(home: &Utf8Path) -> std::io::Result<Arrival> {
    for socket in [API, VSOCK] {
        unless_gone(fs_err::remove_file(home.join(socket)))?;
    }
    Arrival::watch(&home.join(API))
}

/// A connection to a port of the guest's agent.
pub(crate) async fn connect_to(home: &Utf8Path, port: u32) -> Result<UnixStream, VmmError> {
    vsock::connect(&home.join(VSOCK), port).await.map_err(VmmError::Control)
}
