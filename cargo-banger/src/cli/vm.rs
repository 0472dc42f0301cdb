//! What decides a VM, on the command line.

use clap::Args;

use crate::settings::{Flags, list};

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
    /// How large the disks with the workspace's sources and with target/ may grow, each [default: 32G]
    #[arg(long, value_name = "SIZE")]
    workspace_size: Option<String>,
    /// The VMM: auto, qemu or firecracker [default: auto]
    #[arg(long, value_name = "VMM")]
    vmm: Option<String>,
    /// Firecracker's program [default: that on PATH, or the one that `setup` installed]
    #[arg(long, value_name = "FILE")]
    firecracker: Option<String>,
    /// The accelerator: auto, kvm or tcg [default: auto]
    #[arg(long, value_name = "ACCEL")]
    accel: Option<String>,
    /// Process 1 of the guest: quick or systemd [default: quick]
    #[arg(long, value_name = "INIT")]
    init: Option<String>,
    /// Let the guest open connections to the outside: auto, user, tap, internet or host-loopback
    /// [default: none]
    #[arg(long, value_name = "NET", num_args = 0..=1, default_missing_value = "auto", require_equals = true)]
    net: Option<String>,
    /// Private network that VMs with a tap lease addresses from [default: 10.231.0.0/16]
    #[arg(long, value_name = "NETWORK")]
    net_pool: Option<String>,
    /// How many MiB a second each disk may move, with Firecracker [default: none]
    #[arg(long, value_name = "MIB")]
    disk_rate: Option<String>,
    /// How many MiB a second the tap may move, with Firecracker [default: none]
    #[arg(long, value_name = "MIB")]
    net_rate: Option<String>,
    /// Confine Firecracker to a directory and a user of its own; needs root
    #[arg(long)]
    jail: bool,
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
            ("workspace-size", &self.workspace_size),
            ("vmm", &self.vmm),
            ("firecracker", &self.firecracker),
            ("accel", &self.accel),
            ("init", &self.init),
            ("net", &self.net),
            ("net-pool", &self.net_pool),
            ("disk-rate", &self.disk_rate),
            ("net-rate", &self.net_rate),
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
        if self.jail {
            flags.insert("jail", "true".to_owned());
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
