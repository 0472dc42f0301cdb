//! Whether KVM runs ordinary guests here. Opening `/dev/kvm` is necessary and not enough: on some
//! hosts the device answers, yet the CPU cannot run a guest and a VMM on it spins for ever.
//!
//! Cheap and bounded (one open, the first block of one file): every run asks it.

use std::io::{self, BufRead, BufReader};

use camino::{Utf8Path, Utf8PathBuf};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::Serialize;

use super::finding::{Finding, Purpose, Remedy, State};

/// What KVM is good for on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kvm {
    /// Whether an ordinary guest can be expected to run on it.
    pub usable: bool,
    /// Why not; `None` exactly where it is usable.
    pub reason: Option<KvmProblem>,
}

/// Why KVM is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum KvmProblem {
    /// There is no device, or no driver behind it.
    #[error("`{device}` does not exist")]
    Missing {
        /// The device.
        device: Utf8PathBuf,
    },
    /// This user may not open the device.
    #[error("this user may not open `{device}`")]
    NotPermitted {
        /// The device.
        device: Utf8PathBuf,
    },
    /// The device cannot be opened.
    #[error("`{device}` cannot be opened: {cause}")]
    NotOpened {
        /// The device.
        device: Utf8PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The device opens, and the CPU has no virtualisation to offer.
    #[error("`{device}` opens, but the CPU has neither vmx nor svm: it runs no ordinary guest")]
    NoGuests {
        /// The device.
        device: Utf8PathBuf,
    },
}

impl KvmProblem {
    /// What mends it, where anything does.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { .. } => Some(
                "turn virtualisation on in the firmware (nested, in a VM) and load its module: \
                 `sudo modprobe kvm_intel` or `sudo modprobe kvm_amd`"
                    .to_owned(),
            ),
            Self::NotPermitted { .. } => Some(
                "`sudo usermod -aG kvm $USER`, then log in again; on CI a udev rule: \
                 KERNEL==\"kvm\", GROUP=\"kvm\", MODE=\"0666\", OPTIONS+=\"static_node=kvm\""
                    .to_owned(),
            ),
            Self::NotOpened { .. } | Self::NoGuests { .. } => None,
        }
    }
}

/// Where the answers are read.
#[derive(Clone, Debug)]
pub struct KvmSources {
    /// The device.
    pub device: Utf8PathBuf,
    /// The CPUs' flags, where the architecture tells virtualisation by a flag (x86).
    pub cpuinfo: Option<Utf8PathBuf>,
}

impl KvmSources {
    /// The usual places, under another root for tests.
    #[must_use]
    pub fn under(root: &Utf8Path) -> Self {
        let cpuinfo = cfg!(target_arch = "x86_64").then(|| root.join("proc/cpuinfo"));
        Self { device: root.join("dev/kvm"), cpuinfo }
    }
}

/// Whether KVM runs ordinary guests on this host. Never blocks; well under 2 ms.
#[must_use]
pub fn probe() -> Kvm {
    probe_at(&KvmSources::under(Utf8Path::new("/")))
}

/// The same, from given places.
#[must_use]
pub fn probe_at(sources: &KvmSources) -> Kvm {
    let reason = problem(sources);
    Kvm { usable: reason.is_none(), reason }
}

/// The finding for a survey.
#[must_use]
pub fn finding(kvm: &Kvm) -> Finding {
    let Some(reason) = &kvm.reason else {
        return Finding::ready("kvm", "KVM", Purpose::Optional, "runs ordinary guests");
    };
    let finding = Finding::ready("kvm", "KVM", Purpose::Optional, reason.to_string())
        .but(State::Degraded, "guests run under QEMU's emulator (TCG), several times slower");
    match reason.hint() {
        Some(hint) => finding.mended_by(Remedy::Advice(hint)),
        None => finding,
    }
}

fn problem(sources: &KvmSources) -> Option<KvmProblem> {
    let device = sources.device.clone();
    // Non-blocking, so that whatever stands in the device's place cannot hold us up.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match rustix::fs::open(device.as_std_path(), flags, Mode::empty()) {
        Ok(_) => {}
        Err(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
            return Some(KvmProblem::Missing { device });
        }
        Err(Errno::ACCESS | Errno::PERM) => return Some(KvmProblem::NotPermitted { device }),
        Err(other) => {
            let cause = io::Error::from(other).to_string();
            return Some(KvmProblem::NotOpened { device, cause });
        }
    }
    match &sources.cpuinfo {
        Some(cpuinfo) if !has_virtualisation(cpuinfo) => Some(KvmProblem::NoGuests { device }),
        _ => None,
    }
}

/// Reads the flags of the first CPU only: the kernel makes the file as it is read, and on a large
/// machine all of it takes milliseconds.
fn has_virtualisation(cpuinfo: &Utf8Path) -> bool {
    let Ok(file) = fs_err::File::open(cpuinfo) else {
        return false;
    };
    BufReader::new(file)
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("flags"))
        .is_some_and(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use fs_err as fs;

    use super::*;

    fn sources(flags: Option<&str>) -> (tempfile::TempDir, KvmSources) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let device = root.join("kvm");
        fs::write(&device, "").unwrap();
        let cpuinfo = root.join("cpuinfo");
        if let Some(flags) = flags {
            let text = format!("processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: svm_bug\n");
            fs::write(&cpuinfo, text).unwrap();
        }
        (dir, KvmSources { device, cpuinfo: Some(cpuinfo) })
    }

    #[test]
    fn a_device_and_a_cpu_flag_make_it_usable() {
        for flags in ["fpu vmx sse", "fpu sse svm"] {
            let (_dir, sources) = sources(Some(flags));
            assert_eq!(probe_at(&sources), Kvm { usable: true, reason: None });
        }
    }

    #[test]
    fn a_device_without_the_flags_runs_no_guest() {
        for flags in [Some("fpu sse xsvm svm_lock"), None] {
            let (_dir, sources) = sources(flags);
            let kvm = probe_at(&sources);
            assert!(!kvm.usable);
            let reason = kvm.reason.unwrap();
            assert!(reason.to_string().contains("runs no ordinary guest"), "{reason}");
            assert_eq!(reason.hint(), None);
        }
    }

    #[test]
    fn other_architectures_have_no_flag_to_ask_for() {
        let (_dir, mut sources) = sources(None);
        sources.cpuinfo = None;
        assert!(probe_at(&sources).usable);
    }

    #[test]
    fn no_device_is_told_with_what_makes_one() {
        let (_dir, mut sources) = sources(Some("vmx"));
        sources.device = sources.device.with_file_name("none");
        let reason = probe_at(&sources).reason.unwrap();
        assert!(matches!(reason, KvmProblem::Missing { .. }), "{reason:?}");
        assert!(reason.hint().unwrap().contains("modprobe"));
    }

    #[test]
    fn a_lacking_right_is_told_with_the_group_and_the_rule() {
        let problem = KvmProblem::NotPermitted { device: "/dev/kvm".into() };
        let hint = problem.hint().unwrap();
        assert!(hint.contains("usermod -aG kvm") && hint.contains("static_node=kvm"), "{hint}");
        let finding = finding(&Kvm { usable: false, reason: Some(problem) });
        assert_eq!(finding.state, State::Degraded);
        assert!(!finding.required);
    }

    #[test]
    fn something_that_is_no_device_is_quoted() {
        let (dir, mut sources) = sources(Some("vmx"));
        sources.device = Utf8Path::from_path(dir.path()).unwrap().to_owned();
        let reason = probe_at(&sources).reason.unwrap();
        assert!(matches!(reason, KvmProblem::NotOpened { .. }), "{reason:?}");
    }

    #[test]
    fn a_pipe_in_the_devices_place_does_not_hold_us_up() {
        let (_dir, mut sources) = sources(Some("vmx"));
        sources.device = sources.device.with_file_name("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, sources.device.as_std_path(), Mode::RWXU).unwrap();
        let start = Instant::now();
        let _kvm = probe_at(&sources);
        assert!(start.elapsed().as_secs() < 1);
    }
}
