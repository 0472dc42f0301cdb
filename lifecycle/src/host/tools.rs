//! The programs that banger drives: one table, and how each stands on this host.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use camino::Utf8Path;

use super::finding::{Finding, Purpose, Remedy, State};
use super::fix::packages::Package;
use super::version::{Version, ask};
use crate::process::find_program;

/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// A program that banger drives.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// A stable name for programs.
    pub id: &'static str,
    /// Its name on `PATH`.
    pub program: &'static str,
    /// The arguments that make it tell its version; empty where it cannot.
    pub version_args: &'static [&'static str],
    /// The oldest version that works, where that matters.
    pub minimum: Option<Version>,
    /// What it is needed for.
    pub purpose: Purpose,
    /// Whether only an unprivileged user needs it.
    pub unprivileged_only: bool,
    /// The package that holds it; `None` where no distribution has one.
    pub package: Option<Package>,
    /// What its absence costs.
    pub cost: &'static str,
}

const fn tool(
    program: &'static str,
    version_args: &'static [&'static str],
    purpose: Purpose,
    package: Package,
    cost: &'static str,
) -> Tool {
    Tool {
        id: program,
        program,
        version_args,
        minimum: None,
        purpose,
        unprivileged_only: false,
        package: Some(package),
        cost,
    }
}

const LONG: &[&str] = &["--version"];
const SHORT: &[&str] = &["-V"];
/// The first whose guests find their devices through ACPI, as Debian's kernels want it.
pub(crate) const OLDEST_FIRECRACKER: Version = Version::new(1, 8);

/// What an absence costs where Firecracker is used.
pub(super) const COPIES: &str =
    "each Firecracker VM copies its root disk, in place of a dm snapshot";
pub(super) const NO_TAPS: &str = "no VM has a tap; `--net` with QEMU does without";
const NO_IDS: &str = "no image can be built without root";

/// Every program, in the order in which a run needs it.
pub const TOOLS: &[Tool] = &[
    Tool {
        id: "qemu",
        minimum: Some(Version::new(7, 0)),
        ..tool("qemu-system-x86_64", LONG, Purpose::Run, Package::Qemu, "no VM can start")
    },
    tool("qemu-img", LONG, Purpose::Run, Package::QemuImg, "no VM gets a disk of its own"),
    tool("mke2fs", SHORT, Purpose::Run, Package::E2fsprogs, "no disk can be made for a guest"),
    tool("mkfs.erofs", SHORT, Purpose::Run, Package::Erofs, "no toolchain gets into a guest"),
    tool("ssh", SHORT, Purpose::Optional, Package::Ssh, "no shell in a VM that is in use"),
    tool("ssh-keygen", &[], Purpose::Run, Package::SshKeygen, "no keys for the guests"),
    tool("mmdebstrap", LONG, Purpose::Image, Package::Mmdebstrap, "no image can be built"),
    tool("tar", LONG, Purpose::Image, Package::Tar, "no image can be built"),
    tool("unshare", LONG, Purpose::Image, Package::UtilLinux, "no image can be built"),
    Tool {
        unprivileged_only: true,
        ..tool("newuidmap", &[], Purpose::Image, Package::Uidmap, NO_IDS)
    },
    Tool {
        unprivileged_only: true,
        ..tool("newgidmap", &[], Purpose::Image, Package::Uidmap, NO_IDS)
    },
    Tool {
        package: None,
        minimum: Some(OLDEST_FIRECRACKER),
        ..tool(
            "firecracker",
            LONG,
            Purpose::Optional,
            Package::Qemu,
            "`--vmm firecracker` starts no VM; QEMU runs all others",
        )
    },
    tool("dmsetup", LONG, Purpose::Optional, Package::Dmsetup, COPIES),
    tool("ip", SHORT, Purpose::Optional, Package::Iproute, NO_TAPS),
    tool("nft", LONG, Purpose::Optional, Package::Nftables, NO_TAPS),
    // Debian's tells no version.
    tool(
        "passt",
        &[],
        Purpose::Optional,
        Package::Passt,
        "`--net` is refused where QEMU runs the VM",
    ),
];

/// What was found of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is not on `PATH`, nor in the system's directories.
    NotFound,
    /// It is there.
    Found {
        /// Where.
        path: PathBuf,
        /// What it says it is; `None` where it has no version to tell, or told none.
        version: Option<Version>,
    },
}

/// Looks for a program, and asks it for its version.
#[must_use]
pub fn look_up(tool: &Tool, path: Option<&OsStr>) -> Lookup {
    let Some(found) = find_program(tool.program, path) else {
        return Lookup::NotFound;
    };
    let answer = match tool.version_args {
        [] => None,
        args => ask(&found, args, path, PATIENCE),
    };
    // Some tell their version and then exit as if that were an error.
    let version = answer.and_then(|answer| Version::find(&answer.text));
    Lookup::Found { path: found, version }
}

/// The finding on a program for a survey.
#[must_use]
pub fn finding(tool: &Tool, lookup: &Lookup) -> Finding {
    let ready = |detail: String| Finding::ready(tool.id, tool.program, tool.purpose, detail);
    let (path, version) = match lookup {
        Lookup::Found { path, version } => (path.display(), version),
        Lookup::NotFound => {
            let missing = ready("not found".to_owned()).but(State::Missing, tool.cost);
            return match tool.package {
                Some(package) => missing.mended_by(Remedy::Packages(package)),
                None => missing,
            };
        }
    };
    match (version, tool.minimum) {
        (Some(version), Some(minimum)) if *version < minimum => {
            ready(format!("{version} at {path}, {minimum} or newer needed"))
                .but(State::Missing, tool.cost)
                .mended_by(Remedy::Advice(format!(
                    "put `{}` {minimum} or newer first on PATH",
                    tool.program
                )))
        }
        (Some(version), _) => ready(format!("{version}, {path}")),
        (None, _) if tool.version_args.is_empty() => ready(path.to_string()),
        (None, _) => ready(format!("{path} tells no version"))
            .but(State::Degraded, format!("it may not work; then {}", tool.cost)),
    }
}

/// The finding on the keys that Debian's packages are signed with.
#[must_use]
pub fn keyring_finding(root: &Utf8Path) -> Finding {
    let dir = root.join("usr/share/keyrings");
    let names = ["debian-archive-keyring.gpg", "debian-archive-keyring.pgp"];
    let found = names.map(|name| dir.join(name)).into_iter().find(|file| file.is_file());
    let ready = |detail: String| {
        Finding::ready("debian-keyring", "Debian's keyring", Purpose::Image, detail)
    };
    match found {
        Some(file) => ready(file.into_string()),
        None => ready("not found".to_owned())
            .but(State::Missing, "no image can be built: its packages cannot be verified")
            .mended_by(Remedy::Packages(Package::DebianKeyring)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;

    const FAKE: Tool = Tool {
        id: "fake",
        minimum: Some(Version::new(7, 0)),
        ..tool("banger-fake-tool", LONG, Purpose::Run, Package::Qemu, "nothing runs")
    };

    fn look_up_fake(body: &str) -> Finding {
        let dir = tempfile::tempdir().unwrap();
        fake::program(dir.path(), FAKE.program, body);
        finding(&FAKE, &look_up(&FAKE, Some(dir.path().as_os_str())))
    }

    #[test]
    fn a_recent_program_is_ready_with_version_and_place() {
        let finding = look_up_fake("echo \"Fake version 7.2.1 ($1)\"; exit 1");
        assert_eq!(finding.state, State::Ready);
        assert!(finding.detail.starts_with("7.2.1, /"), "{}", finding.detail);
        assert!(finding.detail.ends_with("/banger-fake-tool"), "{}", finding.detail);
    }

    #[test]
    fn an_old_program_stops_the_main_job_and_no_package_is_promised() {
        let finding = look_up_fake("echo 6.2.0");
        assert!(finding.blocks_main_job());
        assert!(finding.detail.contains("7.0 or newer needed"), "{}", finding.detail);
        assert!(matches!(finding.remedy, Some(Remedy::Advice(_))));
    }

    #[test]
    fn a_program_that_does_not_work_is_doubted() {
        let finding = look_up_fake("echo cannot open shared object >&2; exit 127");
        assert_eq!(finding.state, State::Degraded);
        assert!(finding.cost.unwrap().contains("nothing runs"));
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let finding = finding(&FAKE, &look_up(&FAKE, Some(OsStr::new("/no/such/dir"))));
        assert!(finding.blocks_main_job());
        assert_eq!(finding.remedy, Some(Remedy::Packages(Package::Qemu)));
        assert_eq!(finding.cost.as_deref(), Some("nothing runs"));
    }

    #[test]
    fn every_tool_has_an_id_of_its_own() {
        let mut ids: Vec<_> = TOOLS.iter().map(|tool| tool.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), TOOLS.len());
    }

    #[test]
    fn the_keyring_is_a_file_or_a_package() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let missing = keyring_finding(root);
        assert_eq!(missing.remedy, Some(Remedy::Packages(Package::DebianKeyring)));
        let keyrings = root.join("usr/share/keyrings");
        fs_err::create_dir_all(&keyrings).unwrap();
        fs_err::write(keyrings.join("debian-archive-keyring.pgp"), "").unwrap();
        assert_eq!(keyring_finding(root).state, State::Ready);
    }
}
