//! Every setting, declared once: its key in `[workspace.metadata.banger]`, its variable, its
//! default and what it means.

use crate::error::CommandError;

/// One setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The key in metadata, and the flag without its dashes.
    pub(crate) name: &'static str,
    /// The environment variable.
    pub(crate) variable: &'static str,
    /// What holds where nobody says anything.
    pub(crate) default: &'static str,
    /// What it means, as a fragment.
    pub(crate) meaning: &'static str,
}

const fn key(
    name: &'static str,
    variable: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, variable, default, meaning }
}

/// All settings, in the order in which `config` prints them.
pub(crate) const KEYS: &[Key] = &[
    key(
        "vcpu",
        "BANGER_VCPU",
        "auto",
        "virtual CPUs, 1 to 16; auto is 2, or 1 where a single test runs in the guest",
    ),
    key(
        "ram",
        "BANGER_RAM",
        "auto",
        "memory in MiB, 128 to 32768; auto is 1024, or 2048 where cargo runs in the guest",
    ),
    key("overlay-size", "BANGER_OVERLAY_SIZE", "8G", "what the guest may write to its root disk"),
    key(
        "workspace-size",
        "BANGER_WORKSPACE_SIZE",
        "32G",
        "how large the guest's disk with the workspace's sources may grow, and that with target/",
    ),
    key(
        "vmm",
        "BANGER_VMM",
        "auto",
        "the VMM: qemu or firecracker; auto is firecracker where it is there with KVM and dm \
         snapshots, else qemu",
    ),
    key(
        "firecracker",
        "BANGER_FIRECRACKER",
        "auto",
        "Firecracker's program; auto is that on PATH, or else the one that setup installed",
    ),
    key("accel", "BANGER_ACCEL", "auto", "the accelerator: auto, kvm or tcg"),
    key("init", "BANGER_INIT", "quick", "process 1 of the guest: quick or systemd"),
    key(
        "net",
        "BANGER_NET",
        "none",
        "what the guest reaches: none; the outside by passt (user), a tap with NAT (tap), or that of \
         both which its VMM has (auto); of that public addresses only (internet); or the outside and \
         what listens on the host's loopback (host-loopback)",
    ),
    key(
        "net-pool",
        "BANGER_NET_POOL",
        "10.231.0.0/16",
        "the private network that VMs with a tap lease addresses from",
    ),
    key(
        "disk-rate",
        "BANGER_DISK_RATE",
        "none",
        "how many MiB a second each disk may move; Firecracker only",
    ),
    key(
        "net-rate",
        "BANGER_NET_RATE",
        "none",
        "how many MiB a second the tap may move, in each direction; Firecracker only",
    ),
    key(
        "jail",
        "BANGER_JAIL",
        "false",
        "whether Firecracker is confined by its jailer, which needs root: true or false",
    ),
    key(
        "boot-timeout",
        "BANGER_BOOT_TIMEOUT",
        "90s",
        "how long the guest may take to become ready",
    ),
    key("timeout", "BANGER_TIMEOUT", "none", "how long the command may take"),
    key(
        "fetch-limit",
        "BANGER_FETCH_LIMIT",
        "16G",
        "how much content a file or directory that is fetched may have",
    ),
    key(
        "fetch-entries",
        "BANGER_FETCH_ENTRIES",
        "1000000",
        "how many files, directories and links a directory that is fetched may have",
    ),
    key(
        "packages",
        "BANGER_PACKAGES",
        "auto",
        "the guest's package list; auto is packages.apt in the workspace root, or the built-in list",
    ),
    key("suite", "BANGER_SUITE", "bookworm", "the guest's Debian suite"),
    key("mirror", "BANGER_MIRROR", "auto", "where its packages come from"),
    key("rootfs", "BANGER_ROOTFS", "image", "a raw ext4 root disk of your own"),
    key("kernel", "BANGER_KERNEL", "image", "a kernel of your own: ELF or bzImage"),
    key("initrd", "BANGER_INITRD", "image", "an initrd of your own"),
    key(
        "sync",
        "BANGER_SYNC",
        "true",
        "whether the workspace is sent into the guest: true or false",
    ),
    key(
        "toolchain",
        "BANGER_TOOLCHAIN",
        "true",
        "whether the host's Rust toolchain and the crates of Cargo.lock are in the guest: true or false",
    ),
    key(
        "template",
        "BANGER_TEMPLATE",
        "true",
        "whether VMs start as clones of a booted template: true or false",
    ),
    key(
        "keep-on-failure",
        "BANGER_KEEP_ON_FAILURE",
        "false",
        "whether a VM is left running if what runs in it fails: true or false",
    ),
    key(
        "env",
        "BANGER_ENV",
        "",
        r"variables for the command: K or K=V, separated by commas; `\,` is a comma in a value",
    ),
];

/// Finds a setting by a name that came from `at`; an unknown one is an error that names the
/// nearest.
pub(crate) fn known(name: &str, at: &str) -> Result<&'static Key, CommandError> {
    find(name).ok_or_else(|| {
        let error = CommandError::usage(format!("unknown key `{name}` in {at}"));
        error.hint(nearest(name).map(|near| format!("did you mean `{near}`?")))
    })
}

/// The variable of a setting.
pub(crate) fn variable(name: &str) -> &'static str {
    find(name).expect("flags have the names of settings").variable
}

/// Finds a setting by name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known name nearest to an unknown one, if any is near.
pub(crate) fn nearest(name: &str) -> Option<&'static str> {
    let distance = |key: &Key| strsim::damerau_levenshtein(key.name, name);
    let near = KEYS.iter().min_by_key(|key| distance(key))?;
    (distance(near) <= near.name.len().div_ceil(2)).then_some(near.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_finds_its_key() {
        assert_eq!(nearest("vcpus"), Some("vcpu"));
        assert_eq!(nearest("overlay_size"), Some("overlay-size"));
        assert_eq!(nearest("zzzzzzzzzzzzzzzz"), None);
    }

    #[test]
    fn variables_follow_from_names() {
        for key in KEYS {
            let expected = format!("BANGER_{}", key.name.to_uppercase().replace('-', "_"));
            assert_eq!(key.variable, expected);
        }
    }
}
