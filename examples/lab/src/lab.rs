//! One lab: started, furnished, commanded.

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

/// What it takes to be a host of Firecracker.
const FURNISH: &str = "\
    modprobe -a kvm-amd tun loop dm_snapshot dm_zero && chgrp kvm /dev/kvm && chmod 660 /dev/kvm";

/// A VM that runs VMs.
#[derive(Debug)]
pub struct Lab {
    vm: Vm,
    banger: PathBuf,
    /// A directory with the files of the guest's image in it that anybody may read.
    image: PathBuf,
}

impl Lab {
    /// Starts it, and carries in what it needs: Firecracker, with the jailer beside it, for one. Takes
    /// half a minute, and longer the first time, as
    /// two images are built then.
    ///
    /// # Errors
    /// Where `banger`, the program of this name, builds no image, or the lab does not come up.
    pub fn open(firecracker: &Path, banger: &Path) -> Result<Self, Error> {
        let guest = image(banger, GUEST);
        image(banger, LAB);
        // One CPU: emulated ones that run guests of their own wait for each other for ever at times.
        let vm = Vm::builder().setting("packages", LAB).toolchain().ram(6144).vcpu(1);
        let name = guest.file_name().expect("an image's directory is named by its digest");
        let stored = Path::new("/srv/images").join(name);
        let image = PathBuf::from("/srv/guest");
        let mut lab = Self { vm: vm.program(banger).start()?, banger: banger.to_owned(), image };
        lab.take(firecracker, "/usr/local/bin/firecracker")?;
        lab.take(firecracker.with_file_name("jailer"), "/usr/local/bin/jailer")?;
        lab.take(&guest, &stored)?;
        lab.take(guest.with_file_name("refs"), "/srv/images/refs")?;
        lab.share_images("/root/.cache/banger")?;
        // Root's images are root's alone.
        let (stored, image) = (stored.display(), lab.image.display());
        let link = format!("mkdir {image} && ln {stored}/* {image}/ && {FURNISH}");
        let ready = lab.sh(&link)?;
        assert!(ready.success(), "{ready}");
        Ok(lab)
    }

    /// Copies a file or directory of the host into it.
    ///
    /// # Errors
    /// Where that cannot be read, or the lab is lost.
    pub fn take(&mut self, host: impl AsRef<Path>, lab: impl AsRef<Path>) -> Result<(), Error> {
        let parent = lab.as_ref().parent().unwrap_or(Path::new("/"));
        self.vm.run(["mkdir", "-p", &parent.to_string_lossy()])?;
        self.vm.push(host, lab)
    }

    /// Has a cache of banger's in the lab hold the images that it was given.
    ///
    /// # Errors
    /// Where the lab is lost.
    pub fn share_images(&mut self, cache: impl AsRef<Path>) -> Result<(), Error> {
        let cache = cache.as_ref().display();
        self.sh(&format!("mkdir -p '{cache}' && ln -sn /srv/images '{cache}/images'")).map(drop)
    }

    /// Runs a script in the lab, in which `banger` is `cargo banger` and `vm` runs a command in a
    /// small Firecracker VM.
    ///
    /// # Errors
    /// Where the lab is lost, or the time is up.
    pub fn sh(&mut self, script: &str) -> Result<Output, Error> {
        self.sh_within(LIMIT, script)
    }

    /// The same, with more time.
    ///
    /// # Errors
    /// As [`Lab::sh`].
    pub fn sh_within(&mut self, limit: Duration, script: &str) -> Result<Output, Error> {
        self.script("root", script, &format!("--packages '{GUEST}'"), limit)
    }

    /// The same as somebody else, who may read the image's files and has no images.
    ///
    /// # Errors
    /// As [`Lab::sh`].
    pub fn as_user(&mut self, user: &str, script: &str) -> Result<Output, Error> {
        let file = |name| self.image.join(name).display().to_string();
        let [root, kernel, initrd] = ["rootfs.ext4", "vmlinux", "initrd.cpio"].map(file);
        let image = format!("--rootfs '{root}' --kernel '{kernel}' --initrd '{initrd}'");
        self.script(user, script, &image, LIMIT)
    }

    fn script(
        &mut self,
        user: &str,
        script: &str,
        image: &str,
        limit: Duration,
    ) -> Result<Output, Error> {
        let banger = self.banger.display();
        let script = format!(
            "banger() {{ '{banger}' banger \"$@\"; }}\n\
             vm() {{ banger run --no-sync --vmm firecracker --vcpu 1 --ram 256 {image} --boot-timeout 2m \"$@\"; }}\n\
             export GUEST='{GUEST}'\n\
             {script}"
        );
        self.vm.command(["bash", "-lc", &script]).user(user).timeout(limit).output()
    }
}

/// Builds an image, unless it is there and up to date, and returns its directory.
fn image(banger: &Path, packages: &str) -> PathBuf {
    let output = |args: &[&str]| {
        let output = Command::new(banger).arg("banger").args(args).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", banger.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let state = output(&["image", "why-stale", "--packages", packages]);
    let digest = match state.strip_suffix(" is up to date") {
        Some(digest) => digest.to_owned(),
        None => output(&["image", "build", "--packages", packages]),
    };
    PathBuf::from(output(&["image", "path", &digest]))
}
