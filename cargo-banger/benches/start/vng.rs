//! virtme-ng, with a Debian kernel, as `setup-peers.sh` leaves them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use etcetera::BaseStrategy as _;

use crate::Result;
use crate::banger::{Run, checked, first_line, timed};
use crate::options::Options;

/// A virtme-ng that can be run.
#[derive(Debug)]
pub(crate) struct Vng {
    program: PathBuf,
    shell_text: String,
}

impl Vng {
    /// Finds it, or says why not.
    pub(crate) fn find(options: &Options, emulated: bool) -> Result<Self> {
        let peers = match &options.peers {
            Some(peers) => std::path::absolute(peers)?,
            None => etcetera::choose_base_strategy()?.cache_dir().join("banger-bench"),
        };
        if options.setup {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/setup-peers.sh");
            checked(Command::new(script).arg(&peers))?;
        }
        let (program, kernel) = (peers.join("venv/bin/vng"), peers.join("kernel/vmlinuz"));
        for file in [&program, &kernel] {
            if !file.exists() {
                return Err(format!("not installed: no `{}`; see --setup", file.display()).into());
            }
        }
        // Where the modules lie follows from the kernel's real path.
        let kernel = kernel.canonicalize()?;
        let accelerator = if emulated { "--disable-kvm " } else { "" };
        let shell_text = format!(
            "'{}' {accelerator}-r '{}' --memory 1G --cpus 2 -- true",
            program.display(),
            kernel.display()
        );
        Ok(Self { program, shell_text })
    }

    /// Its version.
    pub(crate) fn version(&self) -> String {
        first_line(&self.program, &["--version"])
    }

    /// Runs `true` in it and measures that. It wants a terminal, which `script` gives it.
    pub(crate) fn measure(&self) -> Result<Run> {
        let mut command = Command::new("script");
        command.args(["-qec", &self.shell_text, "/dev/null"]).stdin(Stdio::null());
        let bin = self.program.parent().unwrap_or(Path::new("/"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path);
        let more = ["/usr/sbin".into(), "/sbin".into()];
        let path = std::env::join_paths(std::iter::once(bin.into()).chain(found).chain(more))?;
        command.env("PATH", path);
        Ok(timed(&mut command)?.1)
    }
}
