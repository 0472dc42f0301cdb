//! The command line: types only.

mod place;
mod programs;
mod vm;

use std::ffi::OsString;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};

use banger_lifecycle::spec::OverlaySize;
use banger_lifecycle::vmm::firecracker::release;

pub(crate) use self::place::PlaceArgs;
use self::place::UNTRUSTED_HELP;
pub(crate) use self::programs::{
    CollectArgs, InitArgs, Isolate, NextestArgs, RunnerArgs, SuperviseArgs, TestArgs,
};
pub(crate) use self::vm::{ImageArgs, LimitArgs, VmArgs};
use crate::commands::doctor;
use crate::exit_code;

/// cargo runs `cargo-banger banger …`.
#[derive(Debug, Parser)]
#[command(name = "cargo", bin_name = "cargo", disable_help_subcommand = true)]
pub(crate) enum Cargo {
    Banger(Banger),
}

/// Called by itself it is `cargo-banger …`.
#[derive(Debug, Parser)]
#[command(name = "cargo-banger", bin_name = "cargo-banger", disable_help_subcommand = true)]
struct Direct {
    #[command(flatten)]
    banger: Banger,
}

/// Whether arguments are those that cargo gives its subcommands.
pub(crate) fn is_cargos(arguments: impl IntoIterator<Item = OsString>) -> bool {
    arguments.into_iter().nth(1).is_some_and(|first| first == "banger")
}

impl Banger {
    /// Parses the arguments, program first, in either form.
    pub(crate) fn parse_from(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let arguments: Vec<_> = arguments.into_iter().collect();
        if is_cargos(arguments.iter().cloned()) {
            let Cargo::Banger(banger) = Cargo::try_parse_from(arguments)?;
            Ok(banger)
        } else {
            Direct::try_parse_from(arguments).map(|direct| direct.banger)
        }
    }
}

const TERMINAL_HELP: &str = "\
On a terminal all keys are the command's; Ctrl-] three times within a second leaves a guest that does
not answer, and takes it down.";

const SHELL_HELP: &str = "\
On a terminal all keys are the shell's; Ctrl-] three times within a second leaves a guest that does
not answer, and takes it down unless it was kept. In a VM that others are in, Enter ~ . does.";

/// A fresh Linux machine per command, at nearly the cost of a process
#[derive(Debug, Args)]
#[command(version, after_help = exit_code::HELP, arg_required_else_help = true)]
pub(crate) struct Banger {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Say more; twice for the log
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,

    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a command in a throwaway VM that holds the workspace
    #[command(after_help = format!("{TERMINAL_HELP}\n\n{UNTRUSTED_HELP}"))]
    Run(RunArgs),
    /// Open a login shell in a throwaway VM, or in one that was kept
    #[command(after_help = format!("{SHELL_HELP}\n\n{UNTRUSTED_HELP}"))]
    Shell(ShellArgs),
    /// Test as `cargo test` does: built on the host, each test binary run in a VM of its own
    #[command(after_help = programs::TEST_HELP)]
    Test(TestArgs),
    /// Run cargo-nextest, with a VM for each test
    Nextest(NextestArgs),
    /// Have cargo run this workspace's tests and programs in VMs: writes .cargo/config.toml
    Init(InitArgs),
    /// Write down what cargo would run: the runner that `test` has cargo use
    #[command(hide = true)]
    Collect(CollectArgs),
    /// Run an executable that was built on the host: what cargo takes as `target.<triple>.runner`
    Runner(RunnerArgs),
    /// Build, list and remove guest images
    Image {
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// List and remove templates: the booted guests that VMs start from
    Template {
        #[command(subcommand)]
        command: TemplateCommand,
    },
    /// Install the release of Firecracker that banger is tried with, for this user
    Setup(SetupArgs),
    /// Say what this host lacks and how to mend it
    Doctor(doctor::Args),
    /// Serve a test that runs in a VM: speaks banger's protocol on standard input and output
    #[command(hide = true)]
    Supervise(SuperviseArgs),
    /// Keep a guest from the host: passes frames between a VMM, on standard input, and `passt`
    #[command(hide = true)]
    Gate {
        /// How far the guest gets: outside or internet
        reach: String,
    },
    /// Connect `ssh` to a port of a VM's vsock: hands the connection over on standard output
    #[command(hide = true)]
    Vsock {
        /// The VM's socket
        socket: Utf8PathBuf,
        /// The guest's port
        port: u32,
    },
    /// Go on with the logs of a VM that stays: a stream and its log in turn, from descriptor 3 on
    #[command(hide = true)]
    KeepLogs {
        /// How many bytes of each log are left out of it
        gone: Vec<u64>,
    },
    /// List the VMs that run
    Ps(JsonArgs),
    /// Stop VMs by name
    Stop {
        /// Which ones
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Switch whether a running VM with a tap reaches beyond this host
    Nat {
        #[command(subcommand)]
        command: NatCommand,
    },
    /// Remove what dead runs left and what is not in use
    Gc(GcArgs),
    /// Print the settings in force and where each came from
    Config(ConfigArgs),
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    Man {
        /// Where to; created if missing
        directory: Utf8PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) vm: VmArgs,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Leave the VM running afterwards
    #[arg(long)]
    pub(crate) keep: bool,
    /// Bring a file or directory back, also after a failure; can be repeated
    #[arg(long, value_name = "GUEST:HOST")]
    pub(crate) out: Vec<String>,
    /// Fetch symbolic links that lead out of what is fetched, too
    #[arg(long)]
    pub(crate) out_links: bool,
    /// Fetch this much at most, such as 512M [default: 16G]
    #[arg(long, value_name = "SIZE")]
    pub(crate) fetch_limit: Option<String>,
    /// Fetch this many files, directories and links at most [default: 1000000]
    #[arg(long, value_name = "N")]
    pub(crate) fetch_entries: Option<String>,
    /// Print where the time went, to standard error
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "text", require_equals = true)]
    pub(crate) timings: Option<TimingsFormat>,

    /// The command and its arguments
    // Not `allow_hyphen_values`: a mistyped flag of ours would pass for the command.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimingsFormat {
    /// A table
    Text,
    /// One JSON object, in ms
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) vm: VmArgs,

    /// Leave the VM running afterwards
    #[arg(long)]
    pub(crate) keep: bool,
    /// A VM that was kept
    #[arg(value_name = "NAME", conflicts_with_all = ["dir", "untrusted"])]
    pub(crate) kept: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build the image anew
    Build {
        #[command(flatten)]
        image: ImageArgs,
    },
    /// List the images there are
    List(JsonArgs),
    /// Print an image's manifest
    Inspect {
        /// Its digest, or the start of it
        digest: String,
    },
    /// Print the directory of an image's files: rootfs.ext4, vmlinux, initrd.cpio
    Path {
        /// Its digest, or the start of it
        digest: String,
    },
    /// Say whether packages.apt has changed since the image was built
    WhyStale {
        #[command(flatten)]
        image: ImageArgs,
        #[command(flatten)]
        json: JsonArgs,
    },
    /// Remove images
    Rm {
        /// Their digests, or the starts of them
        #[arg(required = true)]
        digests: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// List the templates there are
    List(JsonArgs),
    /// Remove templates; the next run that wants one makes it anew
    Rm {
        /// Their keys, or the starts of them
        #[arg(required = true)]
        keys: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NatCommand {
    /// Let it reach out, under an address of this host
    Up {
        /// The VM
        name: String,
    },
    /// Let it reach this host only; what it has open stands still
    Down {
        /// The VM
        name: String,
    },
    /// Print `up` or `down`
    Status {
        /// The VM
        name: String,
        #[command(flatten)]
        json: JsonArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    /// Where the releases are, each in a directory of its tag
    #[arg(long, value_name = "URL", default_value = release::MIRROR, env = "BANGER_FIRECRACKER_MIRROR")]
    pub(crate) mirror: String,
}

#[derive(Debug, Args)]
pub(crate) struct JsonArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Remove nothing; fail if dead runs left anything
    #[arg(long)]
    pub(crate) check: bool,
    /// Remove images, layers, templates and workspace disks too, where not in use
    #[arg(long, conflicts_with = "check")]
    pub(crate) all: bool,
    /// How much templates may take up on disk; those used longest ago go first
    #[arg(long, value_name = "SIZE", default_value = "8G", conflicts_with = "check")]
    pub(crate) templates: OverlaySize,
    /// How much workspace disks may take up; those used longest ago go first
    #[arg(long, value_name = "SIZE", default_value = "64G", conflicts_with = "check")]
    pub(crate) disks: OverlaySize,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(flatten)]
    pub(crate) vm: VmArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cargo::command().debug_assert();
        Direct::command().debug_assert();
    }

    #[test]
    fn it_is_called_by_cargo_or_by_itself() {
        let parse = |line: &str| Banger::parse_from(line.split(' ').map(OsString::from));
        for line in ["cargo-banger banger run -- true", "/x/cargo-banger run -- true"] {
            let parsed = parse(line).unwrap();
            assert!(matches!(parsed.command, Command::Run(run) if run.command == ["true"]));
        }
        let parsed = parse("cargo-banger -v run --untrusted --dir /d -- banger").unwrap();
        let Command::Run(RunArgs { place, .. }) = parsed.command else { panic!() };
        assert!(place.untrusted && place.dir.unwrap() == "/d" && parsed.verbose == 1);
        for line in ["cargo-banger --version", "cargo-banger banger --version"] {
            let version = parse(line).unwrap_err();
            assert!(version.to_string().contains(env!("CARGO_PKG_VERSION")), "{version}");
        }
        let usage = parse("cargo-banger").unwrap_err().to_string();
        assert!(usage.contains("Usage: cargo-banger ") && usage.contains("240"), "{usage}");
        assert!(parse("cargo-banger shell --untrusted lab").is_err());
    }

    #[test]
    fn flags_before_the_command_are_ours_and_those_after_it_are_not() {
        let command = |args: &str| match Cargo::try_parse_from(args.split(' ')) {
            Ok(Cargo::Banger(Banger { command: Command::Run(run), .. })) => Ok(run.command),
            other => Err(format!("{other:?}")),
        };
        assert_eq!(command("cargo banger run cargo test --lib -q").unwrap().len(), 4);
        assert_eq!(command("cargo banger run -- -x -- y").unwrap(), ["-x", "--", "y"]);
        assert!(command("cargo banger run --vcpus 2 -- true").unwrap_err().contains("--vcpus"));
    }
}
