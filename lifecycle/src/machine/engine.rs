//! Which VMM runs a VM, and on what: decided before anything is made.
//!
//! | VMM | needs | can |
//! |---|---|---|
//! | Firecracker | its program, usable KVM | vsock; with root dm snapshots, and taps with NAT |
//! | QEMU | its program | KVM or emulation, network without root (by `passt`), qcow2 |
//!
//! Where nobody asks for one, Firecracker if it is there, can do what is asked for and has dm
//! snapshots, else QEMU. What is asked for and cannot be is an error, never something else.

use camino::{Utf8Path, Utf8PathBuf};

use super::plan::{Host, Plan};
use crate::event::Stage;
use crate::host::kvm::KvmProblem;
use crate::network::passt::{self, Way};
use crate::network::{self, Reach};
use crate::overlay::{DiskFormat, RootOverlay, dm_snapshot};
use crate::process::find_program;
use crate::rundir::RunDir;
use crate::seed::Seed;
use crate::session::Keys;
use crate::spec::{Accel, Init, Net, VmSpec, VmmKind};
use crate::template::{ROOT, ROOT_COW, ROOT_RAW};
use crate::vmm::firecracker::{self, Home, release};
use crate::vmm::{Accelerator, VmmError, qemu};

/// A VMM, decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Engine {
    pub(super) vmm: VmmKind,
    pub(super) program: Utf8PathBuf,
    pub(super) accelerator: Accelerator,
    pub(super) root: RootOverlay,
    /// What the guest reaches, and how: not `auto` any more.
    pub(super) net: Net,
    /// By what, where that is `passt`.
    pub(super) way: Option<Way>,
    /// What confines it, where it is to be confined.
    pub(super) jailer: Option<Utf8PathBuf>,
}

impl Engine {
    /// Decides, and says so where it is the slow one.
    pub(super) fn choose(plan: &Plan, host: Host<'_>) -> Result<Self, VmmError> {
        let engine = match plan.spec.vmm {
            Some(VmmKind::Qemu) => Self::qemu(&plan.spec, host)?,
            Some(VmmKind::Firecracker) => Self::firecracker(plan, host)?,
            None => match Self::firecracker(plan, host) {
                Ok(engine) if engine.is_first_choice() => engine,
                _ => Self::qemu(&plan.spec, host)?,
            },
        };
        host.events.means(Stage::Overlay, engine.root.as_str());
        let means = format!("{}, {}", engine.vmm, engine.accelerator.as_str());
        host.events.means(Stage::Boot, means);
        Ok(engine)
    }

    fn qemu(spec: &VmSpec, host: Host<'_>) -> Result<Self, VmmError> {
        let vmm = VmmKind::Qemu;
        let net = match spec.net {
            Net::Auto => Net::User,
            Net::Tap => {
                let hint = "`--net=user`, or `--vmm firecracker`";
                return Err(unsupported(vmm, "taps (`--net=tap`)", hint));
            }
            net => net,
        };
        let way = matches!(net, Net::User | Net::Internet).then(|| way(net, host)).transpose()?;
        if spec.disk_rate.is_some() || spec.net_rate.is_some() {
            let what = "limits on devices (`--disk-rate`, `--net-rate`)";
            return Err(unsupported(vmm, what, "`--vmm firecracker` does"));
        }
        if spec.jail {
            return Err(unsupported(vmm, "jails (`--jail`)", "`--vmm firecracker` does"));
        }
        let program = find(qemu::PROGRAM, host);
        let accelerator = accelerator(spec, host);
        Ok(Self { vmm, program, accelerator, root: RootOverlay::Qcow2, net, way, jailer: None })
    }

    fn firecracker(plan: &Plan, host: Host<'_>) -> Result<Self, VmmError> {
        let (vmm, spec) = (VmmKind::Firecracker, &plan.spec);
        require_kvm(spec, host)?;
        let net = match spec.net {
            Net::None => Net::None,
            Net::User | Net::HostLoopback => {
                let hint = "`--net=tap` with root, or `--vmm qemu`";
                let what = format!("networks without a tap (`--net={}`)", spec.net);
                return Err(unsupported(vmm, &what, hint));
            }
            Net::Auto | Net::Tap | Net::Internet => match network::obstacle(host.path) {
                Some(hint) => {
                    return Err(unsupported(vmm, "outbound network (`--net`) here", hint));
                }
                None if spec.net == Net::Internet => Net::Internet,
                None => Net::Tap,
            },
        };
        let root = match dm_snapshot::is_available(host.path) {
            true => RootOverlay::Snapshot,
            false => RootOverlay::Copy,
        };
        let program = plan.firecracker.clone().unwrap_or_else(|| find(firecracker::PROGRAM, host));
        let jailer = spec.jail.then(|| jailer(&program, host)).transpose()?;
        Ok(Self { vmm, program, accelerator: Accelerator::Kvm, root, net, way: None, jailer })
    }

    /// Whether it is better than QEMU: it is there, and its VMs copy no disk.
    fn is_first_choice(&self) -> bool {
        self.program.is_absolute() && self.root == RootOverlay::Snapshot
    }

    /// Where it runs, of a run's own.
    pub(super) fn home(&self, run_dir: &RunDir) -> std::io::Result<Home> {
        match &self.jailer {
            Some(jailer) => Home::jail(run_dir, jailer, &self.program),
            None => Ok(Home::open(run_dir.path())),
        }
    }

    /// What kind of disks it takes.
    pub(super) fn disk_format(&self) -> DiskFormat {
        match self.vmm {
            VmmKind::Qemu => DiskFormat::Qcow2,
            VmmKind::Firecracker => DiskFormat::Raw,
        }
    }

    /// The name, among a VM's and a template's files, of what the guest writes to its root disk.
    pub(super) fn root_disk(&self) -> &'static str {
        match self.root {
            RootOverlay::Qcow2 => ROOT,
            RootOverlay::Snapshot => ROOT_COW,
            RootOverlay::Copy => ROOT_RAW,
        }
    }

    /// Whether the guest is reached over vsock, and not over a network.
    pub(super) fn has_vsock(&self) -> bool {
        self.vmm == VmmKind::Firecracker
    }

    /// Whether the guest has a network device.
    pub(super) fn has_link(&self) -> bool {
        !self.has_vsock() || self.has_tap()
    }

    /// Whether that is a tap.
    pub(super) fn has_tap(&self) -> bool {
        self.vmm == VmmKind::Firecracker && self.net != Net::None
    }

    /// What its guests are told at boot; to those of Firecracker disks have no serial numbers.
    pub(super) fn seed<'a>(&self, init: Init, keys: &'a Keys) -> Seed<'a> {
        let root = (self.vmm == VmmKind::Firecracker).then_some("/dev/vda");
        let (has_link, has_door) = (self.has_link(), self.way.is_some());
        Seed { init, has_link, has_door, has_vsock: self.has_vsock(), root, keys }
    }
}

fn unsupported(vmm: VmmKind, what: &str, hint: &str) -> VmmError {
    VmmError::Unsupported { vmm, what: what.to_owned(), hint: hint.to_owned() }
}

/// How a guest of QEMU's gets out. Without `passt` it does not: QEMU's own networking would show it the
/// host's loopback.
fn way(net: Net, host: Host<'_>) -> Result<Way, VmmError> {
    let passt = find(passt::PROGRAM, host);
    if !passt.is_absolute() {
        let hint = "`cargo banger doctor --fix` installs `passt`; `--net=host-loopback` does without, \
                    and lets the guest reach what listens on this host's loopback";
        return Err(unsupported(VmmKind::Qemu, "outbound network (`--net`) without `passt`", hint));
    }
    Ok(Way { passt, banger: host.program.to_owned(), reach: Reach::of(net) })
}

/// The jailer of a Firecracker: beside it, or where programs are.
fn jailer(program: &Utf8Path, host: Host<'_>) -> Result<Utf8PathBuf, VmmError> {
    let refused = |hint| Err(unsupported(VmmKind::Firecracker, "jails (`--jail`) here", hint));
    if !rustix::process::geteuid().is_root() {
        return refused("only root makes them; without root Firecracker has no rights to lose");
    }
    // The jailer names the process after the file, and nothing else of it says whose it is.
    let real = program.canonicalize_utf8().unwrap_or_else(|_| program.to_owned());
    if !real.file_name().is_some_and(|name| name.starts_with(firecracker::PROGRAM)) {
        return refused("the file of `--firecracker` has to be called `firecracker…` for a jail");
    }
    let beside = Some(program.with_file_name(firecracker::JAILER)).filter(|path| path.exists());
    let jailer = beside.unwrap_or_else(|| find(firecracker::JAILER, host));
    if jailer.is_absolute() {
        Ok(jailer)
    } else {
        refused("`jailer` of Firecracker's release is not there; `cargo banger setup` installs it")
    }
}

/// Refuses what Firecracker cannot run on.
fn require_kvm(spec: &VmSpec, host: Host<'_>) -> Result<(), VmmError> {
    let refused = |what: &str, hint: &str| Err(unsupported(VmmKind::Firecracker, what, hint));
    match spec.accel {
        Accel::Tcg => refused("emulation (`--accel tcg`)", "`--vmm qemu` emulates"),
        Accel::Auto if !host.kvm.usable => {
            let reason = host.kvm.reason.as_ref();
            let what = reason.map_or_else(String::new, |reason| format!(": {reason}"));
            let hint = reason.and_then(KvmProblem::hint);
            let hint = hint.unwrap_or_else(|| "`--vmm qemu` needs no KVM".to_owned());
            refused(&format!("a host without KVM{what}"), &hint)
        }
        Accel::Auto | Accel::Kvm => Ok(()),
    }
}

fn accelerator(spec: &VmSpec, host: Host<'_>) -> Accelerator {
    match spec.accel {
        Accel::Kvm => Accelerator::Kvm,
        Accel::Tcg => Accelerator::Tcg,
        Accel::Auto if host.kvm.usable => Accelerator::Kvm,
        Accel::Auto => {
            let reason = host.kvm.reason.as_ref().map(ToString::to_string).unwrap_or_default();
            host.events.note(format!("slow, emulated VM (TCG): {reason}"));
            Accelerator::Tcg
        }
    }
}

/// Where a program is, or where `setup` has put it; its name where it is nowhere, so that starting
/// it tells.
fn find(program: &str, host: Host<'_>) -> Utf8PathBuf {
    let found = find_program(program, host.path);
    let found = found.and_then(|path| Utf8PathBuf::from_path_buf(path).ok());
    let installed = Some(release::place(host.layout, program)).filter(|path| path.exists());
    found.or(installed).unwrap_or_else(|| program.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Events;
    use crate::host::Kvm;
    use crate::machine::{BootFiles, Start};
    use crate::rundir::Layout;

    /// The engine of a VM on a host with or without KVM, where Firecracker is not on `PATH`.
    fn choose(spec: VmSpec, kvm: bool) -> Result<Engine, VmmError> {
        choose_on(spec, kvm, None)
    }

    /// The same with programs of its own.
    fn choose_on(
        spec: VmSpec,
        kvm: bool,
        path: Option<&std::ffi::OsStr>,
    ) -> Result<Engine, VmmError> {
        let plan = Plan {
            name: None,
            spec,
            firecracker: Some("/opt/firecracker".into()),
            start: Start::Cold,
            boot: BootFiles::custom(None, None, None, None),
            layers: Vec::new(),
            programs: Vec::new(),
            directories: Vec::new(),
            workspace: None,
            may_be_kept: false,
            fetch: crate::sync::PullOptions::default(),
            directory: None,
        };
        let host = Host {
            layout: &Layout::under(Utf8Path::new("/no/such")),
            kvm: &Kvm { usable: kvm, reason: None },
            path,
            program: Utf8Path::new("/no/such/cargo-banger"),
            events: &Events::silent(),
        };
        Engine::choose(&plan, host)
    }

    #[test]
    fn what_one_vmm_cannot_do_the_other_is_named_for() {
        let spec = VmSpec { vmm: Some(VmmKind::Firecracker), ..VmSpec::default() };
        let engine = choose(spec.clone(), true).unwrap();
        assert_eq!((engine.net, engine.program.as_str()), (Net::None, "/opt/firecracker"));
        let refused = |spec: VmSpec, kvm| choose(spec, kvm).unwrap_err().hint().unwrap();
        assert!(refused(spec.clone(), false).contains("--vmm qemu"));
        let tcg = VmSpec { accel: Accel::Tcg, ..spec.clone() };
        assert!(refused(tcg, true).contains("--vmm qemu"));
        let user = VmSpec { net: Net::User, ..spec };
        assert!(refused(user, true).contains("--net=tap"));
        let qemu = |net| VmSpec { net, vmm: Some(VmmKind::Qemu), ..VmSpec::default() };
        assert!(refused(qemu(Net::Tap), true).contains("--net=user"));
    }

    #[test]
    fn without_kvm_qemu_emulates() {
        let engine = choose(VmSpec::default(), false).unwrap();
        assert_eq!((engine.vmm, engine.accelerator), (VmmKind::Qemu, Accelerator::Tcg));
        assert_eq!((engine.net, engine.root), (Net::None, RootOverlay::Qcow2));
    }

    #[test]
    fn without_passt_qemu_has_a_network_only_where_the_host_may_be_seen() {
        let programs = tempfile::tempdir().unwrap();
        let path = Some(programs.path().as_os_str());
        let qemu = |net| VmSpec { net, vmm: Some(VmmKind::Qemu), ..VmSpec::default() };
        for net in [Net::Auto, Net::User, Net::Internet] {
            let error = choose_on(qemu(net), false, path).unwrap_err();
            assert!(error.to_string().contains("without `passt`"), "{error}");
            assert!(error.hint().unwrap().contains("doctor --fix"), "{net}");
        }
        let engine = choose_on(qemu(Net::HostLoopback), false, path).unwrap();
        assert_eq!((engine.net, engine.way), (Net::HostLoopback, None));
        crate::host::fake::program(programs.path(), "passt", "exit 0");
        for (net, reach) in [(Net::Auto, Reach::Outside), (Net::Internet, Reach::Internet)] {
            let way = choose_on(qemu(net), false, path).unwrap().way.unwrap();
            assert_eq!(way.reach, reach);
            assert!(way.passt.ends_with("passt") && way.banger.is_absolute(), "{way:?}");
        }
    }
}
