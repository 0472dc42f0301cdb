//! What decides whether two VMs can start from one template.

use std::io::{BufRead as _, BufReader};

use super::boot_files::BootFiles;
use super::engine::Engine;
use crate::error::Cause;
use crate::rundir::KeyHasher;
use crate::spec::{VmSpec, VmmKind};
use crate::template::TemplateKey;
use crate::vmm::config::command_line;

/// The version of what else goes into a template: how disks and devices are laid out.
const FORMAT: &str = "6";

/// The shape of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) key: TemplateKey,
    /// For people.
    pub(super) what: String,
}

impl Shape {
    /// Hashes all that is in a guest once it is ready: who boots it, with what, told what.
    ///
    /// The VMM counts by its file, so that an upgrade makes another template without a program
    /// having to be asked for its version at every start; so do boot files of the user's own.
    pub(super) fn of(
        boot: &BootFiles,
        spec: &VmSpec,
        engine: &Engine,
        segment: &[u8],
    ) -> Result<Self, Cause> {
        let mut hasher = KeyHasher::default();
        hasher.field("format", FORMAT).field("seed", segment);
        hasher.field("vcpu", spec.vcpu.to_string()).field("ram", spec.ram.to_string());
        hasher.field("overlay", spec.overlay_size.to_string()).field("init", spec.init.as_str());
        hasher.field("workspace", spec.workspace_size.to_string());
        hasher.field("accelerator", engine.accelerator.as_str()).field("cpu", host_cpu());
        hasher.field("root", engine.root.as_str());
        hasher.field("command line", command_line(engine.vmm, engine.accelerator, None));
        if let Ok(program) = engine.program.canonicalize_utf8() {
            hasher.file("VMM", &program)?;
        }
        boot.identify(&mut hasher)?;
        let VmSpec { vcpu, ram, init, .. } = spec;
        let vmm = match engine.vmm {
            VmmKind::Qemu => engine.accelerator.as_str(),
            VmmKind::Firecracker => "Firecracker",
        };
        let what = format!("{}, {vcpu} vCPUs, {ram} MiB, {init}, {vmm}", boot.describe());
        Ok(Self { key: TemplateKey::of(&hasher), what })
    }
}

/// The host's processor, which a guest under KVM sees and whose clock one under TCG counts by.
///
/// Only the first CPU is read: the kernel makes the file as it is read, and on a large machine
/// all of it takes milliseconds.
fn host_cpu() -> String {
    const COUNTS: [&str; 6] = ["vendor_id", "cpu family", "model", "stepping", "flags", "CPU part"];
    let Ok(file) = fs_err::File::open("/proc/cpuinfo") else { return String::new() };
    let lines = BufReader::new(file).lines().map_while(Result::ok);
    let first = lines.take_while(|line| !line.is_empty());
    let told = first.filter(|line| COUNTS.iter().any(|name| line.starts_with(name)));
    told.collect::<Vec<_>>().join("\n")
}
