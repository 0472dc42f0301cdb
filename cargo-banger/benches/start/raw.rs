//! The floors: `raw-boot.sh` and `raw-restore.sh`, with the arguments of VMs that cargo-banger has
//! started.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err as fs;
use serde_json::Value;

use crate::Result;
use crate::banger::{Banger, Run, timed};

/// All that one of the scripts needs.
#[derive(Debug)]
pub(crate) struct Raw {
    script: &'static str,
    seed: PathBuf,
    /// What the script starts from: the image's root filesystem, or the template.
    from: PathBuf,
    args: Vec<String>,
}

impl Raw {
    /// Boots a VM with cargo-banger, and keeps its arguments and files.
    pub(crate) fn boot(banger: &Banger) -> Result<Self> {
        Self::record(banger, "raw-boot.sh", &["--cold"], |record, _| {
            let digest = record["meta"]["image"].as_str().ok_or("the VM has no image")?;
            Ok(banger.home().join("cache/images").join(digest).join("rootfs.ext4"))
        })
    }

    /// Does so with a clone of a template that has so many virtual CPUs.
    pub(crate) fn restore(banger: &Banger, vcpu: &str) -> Result<Self> {
        Self::record(banger, "raw-restore.sh", &["--vcpu", vcpu], |_, args| {
            let memory =
                args.iter().find_map(|arg| arg.split_once("mem-path=")).ok_or("no clone")?;
            let memory = Path::new(memory.1.split(',').next().unwrap_or_default());
            Ok(memory.parent().ok_or("memory in no directory")?.to_owned())
        })
    }

    fn record(
        banger: &Banger,
        script: &'static str,
        options: &[&str],
        from: impl FnOnce(&Value, &[&str]) -> Result<PathBuf>,
    ) -> Result<Self> {
        let vm = banger.open("bench-recorded", options)?;
        let run = vm.directory().to_owned();
        let record: Value = serde_json::from_str(&fs::read_to_string(run.join("vm.json"))?)?;
        let args = record["config"]["qemu"].as_array().ok_or("the VM is not QEMU's")?;
        let args: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
        let from = from(&record, &args)?;
        let seed = banger.home().join(format!("{script}{}.seed", options.concat()));
        fs::create_dir(&seed)?;
        for file in ["initrd.cpio", "sources.qcow2", "build.qcow2", "ssh_config", "known_hosts"] {
            // A clone has its initrd from its template.
            if run.join(file).exists() {
                fs::copy(run.join(file), seed.join(file))?;
            }
        }
        drop(vm);
        let args = by_hand(&args, &run, &seed);
        Ok(Self { script, seed, from, args })
    }

    /// Whether the guest's processor is emulated.
    pub(crate) fn is_emulated(&self) -> bool {
        self.args.iter().any(|arg| arg.starts_with("tcg"))
    }

    /// Runs the script and measures it.
    pub(crate) fn measure(&self) -> Result<Run> {
        let port = free_port()?;
        let args = self.args.iter().map(|arg| arg.replace(":0-:22", &format!(":{port}-:22")));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(self.script);
        let mut command = Command::new(script);
        command.arg(&self.from).arg(&self.seed).arg(port.to_string()).args(args);
        let began = SystemTime::now();
        let (output, run) = timed(&mut command)?;
        let began = began.duration_since(UNIX_EPOCH)?.as_secs_f64() * 1e3;
        let marks = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Run { stages: stages(&marks, began, run.wall), ..run })
    }
}

/// cargo-banger's arguments without what only its supervision needs.
fn by_hand(args: &[&str], run: &Path, seed: &Path) -> Vec<String> {
    let (run, seed) = (run.to_string_lossy(), seed.to_string_lossy());
    let mut kept = Vec::new();
    let mut args = args.iter().peekable();
    while let Some(arg) = args.next() {
        if matches!(*arg, "-chardev" | "-serial" | "-mon") {
            let value = args.next().unwrap_or(&"");
            // The ports stay: the template's state has them, and the agent waits until somebody is
            // there.
            if let Some((port, _)) =
                value.strip_prefix("socket,id=").and_then(|v| v.split_once(','))
                && matches!(port, "batches" | "commands")
            {
                kept.extend(["-chardev".to_owned(), format!("file,id={port},path=/dev/null")]);
            }
            continue;
        }
        // Two scripts may run at a time: what they write to is made in their own directories.
        let own = ["root.qcow2", "sources.qcow2", "build.qcow2"];
        let arg = own
            .iter()
            .fold((*arg).to_owned(), |arg, disk| arg.replace(&format!("{run}/{disk}"), disk));
        kept.push(arg.replace(&*run, &seed));
    }
    kept
}

/// A port that was free just now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The script's marks as stages; what follows the last is the teardown.
fn stages(marks: &str, began: f64, wall: f64) -> Vec<(String, f64)> {
    let mut stages = Vec::new();
    let mut last = began;
    for line in marks.lines() {
        let Some((name, nanos)) = line.split_once(' ') else { continue };
        let Ok(nanos) = nanos.parse::<f64>() else { continue };
        let at = nanos / 1e6;
        stages.push((name.to_owned(), at - last));
        last = at;
    }
    stages.push(("teardown".to_owned(), began + wall - last));
    stages
}
