//! What decides whether two VMs can start from one template.

use std::io::{BufRead as _, BufReader};

use camino::Utf8PathBuf;

use super::boot_files::BootFiles;
use super::plan::Host;
use crate::error::Cause;
use crate::process::find_program;
use crate::rundir::KeyHasher;
use crate::spec::VmSpec;
use crate::template::TemplateKey;
use crate::vmm::Accelerator;
use crate::vmm::qemu::{PROGRAM, args};

/// The version of what else goes into a template: how disks and devices are laid out.
const FORMAT: &str = "4";

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
        accelerator: Accelerator,
        segment: &[u8],
        host: Host<'_>,
    ) -> Result<Self, Cause> {
        let mut hasher = KeyHasher::default();
        hasher.field("format", FORMAT).field("seed", segment);
        hasher.field("vcpu", spec.vcpu.to_string()).field("ram", spec.ram.to_string());
        hasher.field("overlay", spec.overlay_size.to_string()).field("init", spec.init.as_str());
        hasher.field("accelerator", accelerator.as_str()).field("cpu", host_cpu());
        hasher.field("command line", args::command_line(accelerator, None));
        if let Some(program) = find_program(PROGRAM, host.path) {
            let program = Utf8PathBuf::from_path_buf(program.canonicalize()?)
                .map_err(|_| std::io::Error::other("the VMM's path is not UTF-8"))?;
            hasher.file("VMM", &program)?;
        }
        boot.identify(&mut hasher)?;
        let VmSpec { vcpu, ram, init, .. } = spec;
        let accelerator = accelerator.as_str();
        let what = format!("{}, {vcpu} vCPUs, {ram} MiB, {init}, {accelerator}", boot.describe());
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
