//! The command line: types only.

use std::ffi::OsString;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};

use banger_lifecycle::spec::OverlaySize;

use crate::commands::doctor;
use crate::exit_code;
use crate::settings::{Flags, list};

/// cargo runs `cargo-banger banger …`.
#[derive(Debug, Parser)]
#[command(name = "cargo", bin_name = "cargo", disable_help_subcommand = true)]
pub(crate) enum Cargo {
    Banger(Banger),
}

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
    Run(RunArgs),
    /// Open a login shell in a throwaway VM, or in one that was kept
    Shell(ShellArgs),
    /// Test as `cargo test` does: built on the host, each test binary run in a VM of its own
    #[command(after_help = TEST_HELP)]
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
    /// Say what this host lacks and how to mend it
    Doctor(doctor::Args),
    /// Serve a test that runs in a VM: speaks banger's protocol on standard input and output
    #[command(hide = true)]
    Supervise(SuperviseArgs),
    /// List the VMs that run
    Ps(JsonArgs),
    /// Stop VMs by name
    Stop {
        /// Which ones
        #[arg(required = true)]
        names: Vec<String>,
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

/// Settings of a VM. Each can also stand in Cargo.toml or the environment: see `config`
#[derive(Debug, Args)]
#[command(next_help_heading = "VM")]
pub(crate) struct VmArgs {
    /// Virtual CPUs, 1 to 16 [default: 2]
    #[arg(long, value_name = "N")]
    vcpu: Option<String>,
    /// Memory in MiB, 128 to 32768 [default: 1024, or 2048 where cargo runs in the guest]
    #[arg(long, value_name = "MIB")]
    ram: Option<String>,
    /// How much the guest may write to its root disk [default: 8G]
    #[arg(long, value_name = "SIZE")]
    overlay_size: Option<String>,
    /// The VMM: auto or qemu
    #[arg(long, value_name = "VMM")]
    vmm: Option<String>,
    /// The accelerator: auto, kvm or tcg [default: auto]
    #[arg(long, value_name = "ACCEL")]
    accel: Option<String>,
    /// Process 1 of the guest: quick or systemd [default: quick]
    #[arg(long, value_name = "INIT")]
    init: Option<String>,
    /// Let the guest open connections to the outside [default: none]
    #[arg(long, value_name = "NET", num_args = 0..=1, default_missing_value = "user", require_equals = true)]
    net: Option<String>,
    /// How long the guest may take to become ready [default: 90s]
    #[arg(long, value_name = "TIME")]
    boot_timeout: Option<String>,
    /// Boot afresh, in place of starting from a template
    #[arg(long)]
    cold: bool,
    /// Name of the VM: up to 64 of a-z, 0-9 and - [default: a generated one]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Variable for the command: K takes the host's value; can be repeated
    #[arg(long, value_name = "K[=V]")]
    env: Vec<String>,
    /// Send no workspace, and start without toolchain and dependencies
    #[arg(long)]
    no_sync: bool,
    #[command(flatten)]
    image: ImageArgs,
    /// Raw ext4 root disk of your own
    #[arg(long, value_name = "FILE")]
    rootfs: Option<String>,
    /// Kernel of your own: ELF or bzImage
    #[arg(long, value_name = "FILE")]
    kernel: Option<String>,
    /// Initrd of your own
    #[arg(long, value_name = "FILE")]
    initrd: Option<String>,
    /// Build the image anew first
    #[arg(long)]
    pub(crate) rebuild: bool,
}

/// What decides an image.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// The guest's package list [default: packages.apt of the workspace, or the built-in list]
    #[arg(long, value_name = "FILE")]
    packages: Option<String>,
    /// The guest's Debian suite [default: bookworm]
    #[arg(long, value_name = "SUITE")]
    suite: Option<String>,
    /// Where its packages come from
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

impl ImageArgs {
    /// As settings.
    pub(crate) fn flags(&self) -> Flags {
        let given =
            [("packages", &self.packages), ("suite", &self.suite), ("mirror", &self.mirror)];
        collect(&given)
    }
}

impl VmArgs {
    /// As settings.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = collect(&[
            ("vcpu", &self.vcpu),
            ("ram", &self.ram),
            ("overlay-size", &self.overlay_size),
            ("vmm", &self.vmm),
            ("accel", &self.accel),
            ("init", &self.init),
            ("net", &self.net),
            ("boot-timeout", &self.boot_timeout),
            ("rootfs", &self.rootfs),
            ("kernel", &self.kernel),
            ("initrd", &self.initrd),
        ]);
        flags.extend(self.image.flags());
        if !self.env.is_empty() {
            flags.insert("env", list::join(self.env.iter().map(String::as_str)));
        }
        if self.no_sync {
            flags.insert("sync", "false".to_owned());
        }
        if self.cold {
            flags.insert("template", "false".to_owned());
        }
        flags
    }
}

fn collect(given: &[(&'static str, &Option<String>)]) -> Flags {
    given.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?.clone()))).collect()
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
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
    /// Print where the time went, to standard error
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, default_missing_value = "text", require_equals = true)]
    pub(crate) timings: Option<TimingsFormat>,

    /// The command and its arguments
    // Not `allow_hyphen_values`: a mistyped flag of ours would pass for the command.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// How long something may take, and what a failure leaves.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// Stop the command after this long, such as 30s or 10m
    #[arg(long, value_name = "TIME")]
    timeout: Option<String>,
    /// Leave the VM running if the command fails
    #[arg(long)]
    keep_on_failure: bool,
}

impl LimitArgs {
    /// As settings.
    pub(crate) fn flags(&self) -> Flags {
        let mut flags = collect(&[("timeout", &self.timeout)]);
        if self.keep_on_failure {
            flags.insert("keep-on-failure", "true".to_owned());
        }
        flags
    }
}

const TEST_HELP: &str = "\
Doc tests run too, by rustdoc: in one VM for each crate of edition 2024, else in one for each doc
test. Exit status: cargo's 101 where a test failed, else as for all commands.";

#[derive(Args, Debug)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    pub(crate) vm: VmArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// What gets a VM of its own
    #[arg(long, value_name = "WHAT", default_value = "binary")]
    pub(crate) isolate: Isolate,
    /// How many VMs run at a time [default: as many as the host has cores and memory for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Arguments of `cargo test`; after `--`, those of the tests
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    arguments: Vec<OsString>,
    /// Whether `--` stood before the arguments, where clap takes it away.
    #[arg(skip = std::env::args_os().any(|argument| argument == "--"))]
    dashes: bool,
}

impl TestArgs {
    /// The arguments of cargo and those of the tests.
    pub(crate) fn split(&self) -> (&[OsString], &[OsString]) {
        match self.arguments.iter().position(|argument| argument == "--") {
            Some(at) => (&self.arguments[..at], &self.arguments[at + 1..]),
            None if self.dashes => (&[], &self.arguments),
            None => (&self.arguments, &[]),
        }
    }

    /// How many VMs may run at a time, where that was said.
    pub(crate) fn jobs(&self) -> Option<usize> {
        self.jobs.map(usize::from)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolate {
    /// Each test binary
    Binary,
    /// Each test
    Test,
}

#[derive(Args, Debug)]
pub(crate) struct NextestArgs {
    #[command(flatten)]
    pub(crate) vm: VmArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// Arguments of `cargo nextest`, such as `run`
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct InitArgs {
    /// The target that gets the runner
    #[arg(long, value_name = "TRIPLE", default_value = "x86_64-unknown-linux-gnu")]
    pub(crate) target: String,
    /// Give nextest a profile `banger` too, which ends tests that hang
    #[arg(long)]
    pub(crate) nextest: bool,
    /// Replace another runner
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SuperviseArgs {
    /// The name of a group of tests to serve, one after another
    #[arg(long, requires = "owner")]
    pub(crate) group: Option<String>,
    /// The process with which the group ends
    #[arg(long)]
    pub(crate) owner: Option<i32>,
}

#[derive(Args, Debug)]
pub(crate) struct CollectArgs {
    /// Where to write it
    pub(crate) to: Utf8PathBuf,
    /// The executable
    pub(crate) program: Utf8PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct RunnerArgs {
    #[command(flatten)]
    pub(crate) vm: VmArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    /// The executable, built on the host
    #[arg(value_name = "BINARY")]
    pub(crate) program: Utf8PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<OsString>,
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
    pub(crate) vm: VmArgs,

    /// Leave the VM running afterwards
    #[arg(long)]
    pub(crate) keep: bool,
    /// A VM that was kept
    #[arg(value_name = "NAME")]
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
