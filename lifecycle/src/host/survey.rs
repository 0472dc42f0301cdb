//! Looks at everything a run can need, all at once, and lists it in the order a reader wants.

use std::ffi::{OsStr, OsString};
use std::thread;
use std::time::Duration;

use camino::Utf8PathBuf;

use super::finding::{Finding, Purpose, State};
use super::identity::{self, Identity, SubordinateIds};
use super::kvm::{self, KvmSources};
use super::network::{self, NameLookup};
use super::tools::{self, TOOLS};
use super::userns::Attempt;
use super::version::ask;
use super::{memory, rust, storage, userns};
use crate::process::find_program;
use crate::spec::VmmKind;

/// What a survey has to be told. All that it reads of the environment comes in here.
#[derive(Clone, Debug)]
pub struct SurveyInput {
    /// `PATH`.
    pub path: Option<OsString>,
    /// The VMM that VMs are to run in; where nobody says, the one that they would.
    pub vmm: Option<VmmKind>,
    /// Where images and layers go; need not exist.
    pub cache_dir: Utf8PathBuf,
    /// Who would run the VMs.
    pub identity: Identity,
    /// Whether an image is there already, so that none has to be built.
    pub image_ready: bool,
    /// Whether an HTTP proxy is set.
    pub proxied: bool,
    /// The host that the guest's packages come from.
    pub mirror_host: String,
    /// How long a name may take to resolve.
    pub dns_limit: Duration,
    /// The directory that stands for `/`; another one in tests.
    pub root: Utf8PathBuf,
}

impl SurveyInput {
    /// The survey of this host for whoever runs this process, with no image yet.
    #[must_use]
    pub fn new(path: Option<OsString>, cache_dir: Utf8PathBuf) -> Self {
        let root = Utf8PathBuf::from("/");
        Self {
            path,
            vmm: None,
            cache_dir,
            identity: Identity::current(&root),
            image_ready: false,
            proxied: false,
            mirror_host: "deb.debian.org".to_owned(),
            dns_limit: Duration::from_secs(3),
            root,
        }
    }
}

/// Looks at everything: required things first, then what images need, then the optional.
///
/// Takes as long as the slowest program takes to tell its version, and a few seconds at worst.
#[must_use]
pub fn survey(input: &SurveyInput) -> Vec<Finding> {
    let lookup = NameLookup::start(&input.mirror_host);
    let mut findings = ask_programs(input);
    let root = &input.root;
    findings.push(tools::keyring_finding(root));
    if !input.identity.is_root() {
        let attempt = userns::attempt(input.path.as_deref());
        let namespaces = [
            identity::finding(&input.identity, &SubordinateIds::read(root)),
            userns::finding(&attempt, userns::switches(root)),
        ];
        let sudo = attempt != Attempt::Worked && may_sudo(input.path.as_deref());
        let cost = "images are built with `sudo`";
        findings.extend(namespaces.map(|found| match found.state {
            State::Missing if sudo => found.but(State::Degraded, cost),
            _ => found,
        }));
    }
    let room = storage::room(&input.cache_dir);
    findings.push(storage::disk_finding(&input.cache_dir, room, input.image_ready));
    findings.push(memory::finding(memory::available(root)));
    findings.push(kvm::finding(&kvm::probe_at(&KvmSources::under(root))));
    findings.push(storage::device_mapper_finding(storage::device_mapper(root)));
    findings.push(network::tap_finding(network::tap(root, &input.identity)));
    let resolved = lookup.finish(input.dns_limit);
    findings.push(network::dns_finding(&input.mirror_host, resolved, input.proxied));
    let firecracker = ["firecracker", "kvm", "device-mapper", "dmsetup"];
    let is_ready = |id| findings.iter().any(|found| found.id == id && found.state == State::Ready);
    let first_choice = || firecracker.into_iter().all(is_ready);
    if input.vmm.map_or_else(first_choice, |vmm| vmm == VmmKind::Firecracker) {
        findings.iter_mut().for_each(for_firecracker);
    }
    arrange(findings, input.image_ready)
}

/// Needs Firecracker and KVM, and no QEMU.
fn for_firecracker(finding: &mut Finding) {
    match finding.id {
        "qemu" | "qemu-img" => finding.purpose = Purpose::Optional,
        "firecracker" => finding.purpose = Purpose::Run,
        "kvm" => {
            finding.purpose = Purpose::Run;
            if finding.state == State::Degraded {
                *finding = finding.clone().but(State::Missing, "Firecracker starts no VM");
            }
        }
        _ => {}
    }
}

/// Whether `sudo` makes this user root without asking.
fn may_sudo(path: Option<&OsStr>) -> bool {
    let Some(sudo) = find_program("sudo", path) else { return false };
    let answer = ask(&sudo, &["-n", "true"], path, Duration::from_secs(5));
    answer.is_some_and(|answer| answer.status.success())
}

/// The findings on every program that this user needs. They are asked side by side, since some
/// take a good part of a second to start.
fn ask_programs(input: &SurveyInput) -> Vec<Finding> {
    let path = input.path.as_deref();
    let needed = TOOLS.iter().filter(|tool| !(tool.unprivileged_only && input.identity.is_root()));
    thread::scope(|scope| {
        let rust = scope.spawn(|| rust::findings(&rust::look_up(path)));
        let tools: Vec<_> = needed
            .map(|tool| scope.spawn(move || tools::finding(tool, &tools::look_up(tool, path))))
            .collect();
        let tools = tools.into_iter().filter_map(|thread| thread.join().ok());
        let mut findings: Vec<_> = tools.collect();
        findings.extend(rust.join().into_iter().flatten());
        findings
    })
}

fn arrange(mut findings: Vec<Finding>, image_ready: bool) -> Vec<Finding> {
    for finding in &mut findings {
        finding.required = match finding.purpose {
            Purpose::Run => true,
            Purpose::Image => !image_ready,
            Purpose::Optional => false,
        };
    }
    // Stable: within a purpose the order is that of the survey.
    findings.sort_by_key(|finding| match finding.purpose {
        Purpose::Run => 0,
        Purpose::Image => 1,
        Purpose::Optional => 2,
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::super::{fake, main_job_possible};
    use super::*;

    /// A host whose every needed program answers with version 9.9, and whose files are fine.
    fn good_host(uid: u32) -> (tempfile::TempDir, SurveyInput) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let bin = root.join("bin");
        for sub in ["bin", "proc", "etc", "dev/net", "dev/mapper", "usr/share/keyrings"] {
            fs_err::create_dir_all(root.join(sub)).unwrap();
        }
        for name in TOOLS.iter().map(|tool| tool.program).chain(["cargo", "rustc"]) {
            fake::program(bin.as_std_path(), name, "echo version 9.9");
        }
        let files = [
            ("proc/cpuinfo", "flags : vmx\n"),
            ("proc/meminfo", "MemAvailable: 8388608 kB\n"),
            ("etc/subuid", "1000:100000:65536\n"),
            ("etc/subgid", "1000:100000:65536\n"),
            ("dev/kvm", ""),
            ("dev/net/tun", ""),
            ("dev/mapper/control", ""),
            ("usr/share/keyrings/debian-archive-keyring.gpg", ""),
        ];
        for (name, text) in files {
            fs_err::write(root.join(name), text).unwrap();
        }
        let input = SurveyInput {
            path: Some(bin.into_string().into()),
            vmm: Some(VmmKind::Qemu),
            cache_dir: root.join("cache"),
            identity: Identity { uid, user: None, capabilities: u64::MAX },
            image_ready: false,
            proxied: false,
            mirror_host: "127.0.0.1".to_owned(),
            dns_limit: Duration::from_secs(60),
            root,
        };
        (dir, input)
    }

    /// The state of everything but the real disk, which a test cannot choose.
    fn states(findings: &[Finding]) -> Vec<(&'static str, State)> {
        let chosen = findings.iter().filter(|finding| finding.id != "disk");
        chosen.map(|finding| (finding.id, finding.state)).collect()
    }

    #[test]
    fn a_good_host_has_nothing_to_complain_of() {
        for uid in [0, 1000] {
            let (_dir, input) = good_host(uid);
            let findings = survey(&input);
            for (id, state) in states(&findings) {
                assert_eq!(state, State::Ready, "{id} for uid {uid}");
            }
            let ids: Vec<_> = findings.iter().map(|finding| finding.id).collect();
            assert_eq!(ids.contains(&"subids"), uid != 0);
            assert_eq!(ids.contains(&"newuidmap"), uid != 0);
        }
    }

    #[test]
    fn what_only_images_need_is_required_until_there_is_one() {
        let (_dir, mut input) = good_host(0);
        fs_err::remove_file(input.root.join("usr/share/keyrings/debian-archive-keyring.gpg"))
            .unwrap();
        let required = |input: &SurveyInput| {
            let findings = survey(input);
            let keyring = findings.iter().find(|finding| finding.id == "debian-keyring").unwrap();
            assert_eq!(keyring.state, State::Missing);
            keyring.required
        };
        assert!(required(&input));
        input.image_ready = true;
        assert!(!required(&input));
    }

    #[test]
    fn findings_come_by_purpose() {
        let (_dir, input) = good_host(1000);
        let findings = survey(&input);
        let of = |id| findings.iter().position(|finding| finding.id == id).unwrap();
        assert_eq!(of("qemu"), 0);
        assert!(of("memory") < of("mmdebstrap"));
        assert!(of("dns") < of("kvm"));
    }

    #[test]
    fn a_host_of_firecracker_needs_no_qemu_but_kvm() {
        let (_dir, mut input) = good_host(0);
        fs_err::remove_file(input.root.join("bin/qemu-system-x86_64")).unwrap();
        assert!(!main_job_possible(&survey(&input)));
        input.vmm = Some(VmmKind::Firecracker);
        assert!(main_job_possible(&survey(&input)));
        fs_err::write(input.root.join("proc/cpuinfo"), "flags : fpu\n").unwrap();
        assert!(!main_job_possible(&survey(&input)));
    }

    #[test]
    fn without_memory_the_main_job_is_not_possible() {
        let (_dir, input) = good_host(0);
        fs_err::write(input.root.join("proc/meminfo"), "MemAvailable: 1024 kB\n").unwrap();
        assert!(!main_job_possible(&survey(&input)));
    }
}
