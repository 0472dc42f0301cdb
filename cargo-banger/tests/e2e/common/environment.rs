//! A hermetic place for one test: state, sockets and workspaces of its own, images, layers and
//! templates shared with the rest of the suite.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process};

use super::process::Program;
use super::slots::Slots;
use super::{eventually, processes_of};

/// The program under test.
pub(crate) const BANGER: &str = env!("CARGO_BIN_EXE_cargo-banger");

/// Settings of the suite's own that reach the commands under test: over which VMM, on what guests.
const PASSED: &[&str] = &["BANGER_VMM", "BANGER_PACKAGES", "BANGER_BOOT_TIMEOUT"];

/// What tests share between them. A template's guest knows the keys, so those go with it.
const SHARED: &[&str] = &["cache/images", "cache/layers", "cache/templates", "state/keys"];

/// How long the image may take to be built, once for the suite.
const IMAGE_LIMIT: Duration = Duration::from_secs(900);

/// One test's place. Dropping it ends whatever the test left running.
#[derive(Debug)]
pub(crate) struct TestEnvironment {
    home: tempfile::TempDir,
    work: tempfile::TempDir,
    name: String,
    began: Instant,
    /// Held while the test runs VMs.
    slots: Option<Slots>,
}

impl TestEnvironment {
    /// For a test that starts no VM and needs no image.
    pub(crate) fn without_vm() -> Self {
        Self::make(0)
    }

    /// For a test with up to `vms` VMs at once, with an image; `None`, with the reason printed,
    /// where this host runs none.
    pub(crate) fn sharing_images(vms: usize) -> Option<Self> {
        Self::sharing(SHARED, vms)
    }

    /// The same, with templates of its own.
    pub(crate) fn sharing_images_only(vms: usize) -> Option<Self> {
        Self::sharing(&["cache/images", "cache/layers"], vms)
    }

    fn sharing(parts: &[&str], vms: usize) -> Option<Self> {
        let this = Self::with_empty_cache(vms)?;
        ensure_image();
        for part in parts {
            let (theirs, ours) = (shared_home().join(part), this.home().join(part));
            fs::create_dir_all(&theirs).unwrap();
            fs::create_dir_all(ours.parent().unwrap()).unwrap();
            symlink(theirs, ours).unwrap();
        }
        Some(this)
    }

    /// The same, with nothing in the cache.
    pub(crate) fn with_empty_cache(vms: usize) -> Option<Self> {
        static NOT_READY: OnceLock<Option<String>> = OnceLock::new();
        match NOT_READY.get_or_init(why_not_ready) {
            None => Some(Self::make(vms)),
            Some(reason) => {
                skip(reason);
                None
            }
        }
    }

    fn make(vms: usize) -> Self {
        let slots = (vms > 0).then(|| Slots::acquire(&shared_home().join("slots"), vms));
        Self {
            // Sockets lie below it, and their paths must be short.
            home: tempfile::Builder::new().prefix("b").tempdir_in("/tmp").unwrap(),
            work: tempfile::Builder::new().prefix("w").tempdir_in("/tmp").unwrap(),
            name: test_name(),
            began: Instant::now(),
            slots,
        }
    }

    /// What `BANGER_HOME` is.
    pub(crate) fn home(&self) -> &Utf8Path {
        Utf8Path::from_path(self.home.path()).unwrap()
    }

    /// The cache below it.
    pub(crate) fn cache(&self) -> Utf8PathBuf {
        self.home().join("cache")
    }

    /// An empty directory outside of any workspace, in which commands run unless told otherwise.
    pub(crate) fn work(&self) -> &Utf8Path {
        Utf8Path::from_path(self.work.path()).unwrap()
    }

    /// `cargo banger` with these arguments.
    pub(crate) fn banger<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Program {
        self.program(BANGER).arg("banger").args(args)
    }

    /// `cargo banger run --no-sync -- sh -c SCRIPT`.
    pub(crate) fn sh(&self, script: &str) -> Program {
        self.banger(["run", "--no-sync", "--", "sh", "-c", script])
    }

    /// Any program, in this place.
    pub(crate) fn program(&self, program: &str) -> Program {
        let program = Program::new(program).directory(self.work()).env("BANGER_HOME", self.home());
        let program = program.env("BANGER_VMM", Vmm::of_the_suite().name());
        // Cargo and rustup tell the tests about themselves; a user's shell does not.
        let foreign = |name: &str| {
            let tools = ["CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];
            ["BANGER_", "CARGO", "RUST"].iter().any(|prefix| name.starts_with(prefix))
                && !tools.contains(&name)
                && !PASSED.contains(&name)
                && name != "BANGER_HOME"
        };
        std::env::vars_os()
            .filter(|(name, _)| name.to_str().is_some_and(foreign))
            .fold(program, |program, (name, _)| program.env_remove(name))
    }

    /// Whether images can be built here; says why not.
    pub(crate) fn can_build_images(&self) -> bool {
        let doctor = self.banger(["doctor", "--json"]).run();
        let doctor: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
        let findings = doctor["findings"].as_array().unwrap();
        let lacks = findings.iter().find(|f| f["purpose"] == "image" && f["state"] != "ready");
        if let Some(lacks) = lacks {
            skip(&format!("images cannot be built: {} {}", lacks["title"], lacks["detail"]));
        }
        lacks.is_none()
    }

    /// Kills the VMMs of this place; how many there were.
    pub(crate) fn kill_vmms(&self) -> usize {
        let vmms = processes_of(self.home()).into_iter();
        let vmms = vmms.filter(|(_, line)| line.contains(Vmm::of_the_suite().program()));
        vmms.filter_map(|(pid, _)| kill_process(Pid::from_raw(pid)?, Signal::KILL).ok()).count()
    }

    /// The VMs' directories there are.
    pub(crate) fn run_directories(&self) -> Vec<Utf8PathBuf> {
        entries(&self.home().join("state/runs")).into_iter().filter(|path| path.is_dir()).collect()
    }

    /// What the guests of this place have printed on their consoles.
    pub(crate) fn consoles(&self) -> String {
        let logs = self.run_directories().into_iter().map(|dir| dir.join("console.log"));
        logs.filter_map(|log| fs::read(log).ok())
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .collect()
    }

    /// The files below this place that are block devices.
    fn loop_devices(&self) -> Vec<String> {
        let blocks = entries(Utf8Path::new("/sys/block")).into_iter();
        let backing = blocks.filter_map(|b| fs::read_to_string(b.join("loop/backing_file")).ok());
        backing.filter(|file| file.starts_with(self.home().as_str())).collect()
    }

    /// Fails if anything is left of any VM, or if `gc --check` sees it otherwise.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        self.banger(["gc", "--check"]).run().code(0);
        let mut left = self.run_directories();
        for workspace in entries(&self.cache().join("workspaces")) {
            let top = |path: &Utf8PathBuf| path.file_name().is_some_and(|n| n.starts_with("run-"));
            left.extend(entries(&workspace).into_iter().filter(top));
        }
        assert_eq!(left, [] as [&str; 0]);
        let processes = processes_of(self.home());
        assert!(processes.is_empty(), "{processes:#?}");
        let devices = self.loop_devices();
        assert!(devices.is_empty(), "{devices:?}");
    }
}

impl Drop for TestEnvironment {
    fn drop(&mut self) {
        for (pid, _) in processes_of(self.home()) {
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
        if std::thread::panicking() {
            // What a test that failed has left may be more than the files that go with this.
            let mut gc = std::process::Command::new(BANGER);
            drop(gc.args(["banger", "gc"]).env("BANGER_HOME", self.home()).output());
        }
        if !std::thread::panicking() {
            eventually(Duration::from_secs(10), "killed processes are gone", || {
                processes_of(self.home()).is_empty()
            });
        }
        if self.slots.is_some() {
            tell(&format!("{} took {:.1} s", self.name, self.began.elapsed().as_secs_f64()));
        }
    }
}

/// What runs the suite's VMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vmm {
    Qemu,
    Firecracker,
}

impl Vmm {
    /// As `BANGER_VMM` says.
    pub(crate) fn of_the_suite() -> Self {
        match std::env::var("BANGER_VMM").as_deref() {
            Ok("firecracker") => Self::Firecracker,
            _ => Self::Qemu,
        }
    }

    /// Its name as a setting.
    const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Firecracker => "firecracker",
        }
    }

    /// Its process, by a word of its command line.
    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86_64",
            Self::Firecracker => "firecracker --id",
        }
    }
}

/// Says why a test does nothing.
pub(crate) fn skip(reason: &str) {
    tell(&format!("{} SKIPPED: {reason}", test_name()));
}

/// Prints past the capture of output, which hides what tests that pass have to say.
pub(crate) fn tell(text: &str) {
    drop(writeln!(std::io::stderr(), "e2e: {text}"));
}

fn test_name() -> String {
    std::thread::current().name().unwrap_or("a thread").to_owned()
}

/// Where the suite's images and layers are kept between runs.
fn shared_home() -> Utf8PathBuf {
    Utf8PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("banger-e2e")
}

/// Why no VM can run here, by `doctor`'s word.
fn why_not_ready() -> Option<String> {
    let env = TestEnvironment::without_vm();
    // There the image may be, which need not be built then.
    let doctor = env.banger(["doctor"]).env("BANGER_HOME", shared_home()).run();
    (!doctor.status.success()).then(|| doctor.text().lines().last().unwrap_or_default().to_owned())
}

/// Builds the shared image, unless a run before has.
fn ensure_image() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let env = TestEnvironment::without_vm();
        let banger = |args: &[&str]| env.banger(args).env("BANGER_HOME", shared_home());
        let list = banger(&["image", "list", "--json"]).run().code(0);
        let images: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
        if images.as_array().is_none_or(Vec::is_empty) {
            banger(&["run", "--no-sync", "--", "true"]).limit(IMAGE_LIMIT).run().code(0);
        }
    });
}

/// What is in a directory; nothing where there is none.
pub(crate) fn entries(dir: &Utf8Path) -> Vec<Utf8PathBuf> {
    let Ok(entries) = dir.read_dir_utf8() else { return Vec::new() };
    entries.map(|entry| entry.unwrap().into_path()).collect()
}
