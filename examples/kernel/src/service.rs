//! A systemd service that lasts until its value is dropped.

use std::error::Error;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::tool::{ToolError, run, run_quietly};

/// A service that systemd keeps running. Dropping it stops it and removes its unit.
#[derive(Debug)]
#[must_use = "dropping it stops the service"]
pub struct Service {
    unit: String,
    file: PathBuf,
}

impl Service {
    /// Writes a unit that runs `command`, restarted whenever it ends, and starts it.
    ///
    /// # Errors
    /// Where process 1 is not systemd, the unit cannot be written, or the command does not start.
    pub fn start(name: &str, command: &str) -> Result<Self, Box<dyn Error>> {
        let units = Path::new("/run/systemd/system");
        if !units.is_dir() {
            return Err("process 1 is not systemd: the VM wants `--init systemd`".into());
        }
        let unit = format!("{name}.service");
        let file = units.join(&unit);
        let text =
            format!("[Service]\nType=exec\nRestart=always\nRestartSec=50ms\nExecStart={command}\n");
        File::create_new(&file)?.write_all(text.as_bytes())?;
        // From here on a failure drops what there is.
        let this = Self { unit, file };
        wait_for_systemd(Duration::from_secs(60))?;
        run(&["systemctl", "daemon-reload"])?;
        run(&["systemctl", "start", &this.unit])?;
        Ok(this)
    }

    /// One of the properties that `systemctl show` knows, such as `ActiveState` or `MainPID`.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub fn property(&self, name: &str) -> Result<String, ToolError> {
        run(&["systemctl", "show", "--value", "--property", name, &self.unit])
    }

    /// Kills the service's process.
    ///
    /// # Errors
    /// Where it has none.
    pub fn kill(&self) -> Result<(), ToolError> {
        run(&["systemctl", "kill", "--signal=KILL", &self.unit]).map(drop)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        run_quietly(&["systemctl", "stop", &self.unit]);
        run_quietly(&["rm", "-f", &self.file.to_string_lossy()]);
    }
}

/// Waits until systemd answers: a VM is ready for commands before all of its services are.
fn wait_for_systemd(limit: Duration) -> Result<(), ToolError> {
    let started = Instant::now();
    loop {
        match run(&["systemctl", "show", "--property", "Version"]) {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() > limit => return Err(error),
            Err(_) => sleep(Duration::from_millis(200)),
        }
    }
}
