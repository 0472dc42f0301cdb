//! The lab: a VM that has KVM, Firecracker and `cargo-banger`, to run VMs in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use banger::{Error, Output, Vm};

/// What the guest of the lab's VMs is made of.
const GUEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guest.apt");
/// What the lab is made of.
const LAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/lab.apt");

/// How long a command in the lab may take: everything in it is emulated twice.
const LIMIT: Duration = Duration::from_secs(240);

/// A VM that runs VMs.
#[derive(Debug)]
pub struct Lab {
    vm: Vm,
    banger: PathBuf,
}

impl Lab {
    /// Starts it, and carries in what it needs. Takes half a minute, and longer the first time, as
    /// two images are built then.
    ///
    /// # Errors
    /// Where `banger`, the program of this name, builds no image, or the lab does not come up.
    pub fn open(firecracker: &Path, banger: &Path) -> Result<Self, Error> {
        let image = guest_image(banger);
        // One CPU: emulated ones that run guests of their own wait for each other for ever at times.
        let vm = Vm::builder().setting("packages", LAB).setting("sync", "false").ram(6144).vcpu(1);
        let mut lab = Self { vm: vm.program(banger).start()?, banger: banger.to_owned() };
        lab.vm.push(firecracker, "/usr/local/bin/firecracker")?;
        lab.vm.run(["mkdir", "-p", "/srv"])?;
        for file in ["rootfs.ext4", "vmlinux", "initrd.cpio"] {
            lab.vm.push(image.join(file), Path::new("/srv").join(file))?;
        }
        let ready = lab.sh("modprobe kvm-amd && chgrp kvm /dev/kvm && chmod 660 /dev/kvm")?;
        assert!(ready.success(), "{ready}");
        Ok(lab)
    }

    /// Runs a script in the lab, in which `banger` is `cargo banger` and `vm` runs a command in a
    /// small Firecracker VM.
    ///
    /// # Errors
    /// Where the lab is lost, or the time is up.
    pub fn sh(&mut self, script: &str) -> Result<Output, Error> {
        self.as_user("root", script)
    }

    /// The same as somebody else.
    ///
    /// # Errors
    /// As [`Lab::sh`].
    pub fn as_user(&mut self, user: &str, script: &str) -> Result<Output, Error> {
        let banger = self.banger.display();
        let script = format!(
            "banger() {{ '{banger}' banger \"$@\"; }}\n\
             vm() {{\n\
                 banger run --vmm firecracker --vcpu 1 --ram 256 --rootfs /srv/rootfs.ext4 \\\n\
                     --kernel \"${{KERNEL:-/srv/vmlinux}}\" --initrd /srv/initrd.cpio --boot-timeout 2m \"$@\"\n\
             }}\n\
             {script}"
        );
        self.vm.command(["bash", "-c", &script]).user(user).timeout(LIMIT).output()
    }
}

/// Builds the guest's image, unless it is there, and returns its directory.
fn guest_image(banger: &Path) -> PathBuf {
    let output = |args: &[&str]| {
        let output = Command::new(banger).arg("banger").args(args).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", banger.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let state = output(&["image", "why-stale", "--packages", GUEST]);
    let digest = match state.strip_suffix(" is up to date") {
        Some(digest) => digest.to_owned(),
        None => output(&["image", "build", "--packages", GUEST]),
    };
    PathBuf::from(output(&["image", "path", &digest]))
}
