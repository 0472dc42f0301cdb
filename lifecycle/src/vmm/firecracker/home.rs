//! The directory that Firecracker runs in, and how files come into it: as links, or, where that is a
//! jail, as what they are.
//!
//! A jail is made by Firecracker's own jailer (its docs/jailer.md): a root directory of its own, a user
//! that nobody else is, in a mount namespace that ends with the process. Files of others are bound
//! into it there, so that they have one copy and no mount is ever left; devices get nodes.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, chownat, mknodat};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::process::Command;

use crate::overlay::Access;
use crate::process::unless_gone;
use crate::rundir::RunDir;

/// The group of all jailed VMMs, and the first of their users, one for each VM: numbers that no
/// system gives out. Nobody but them is in the group.
const GROUP: u32 = 1_000_000_000;

/// How many users there are.
const USERS: u32 = 1_000_000_000;

/// The user of the VM whose run has a short name, should it be jailed.
pub(crate) fn jail_user(handle: &str) -> Option<u32> {
    Some(GROUP + u32::from_str_radix(handle, 16).ok()? % USERS)
}

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    dir: Utf8PathBuf,
    jail: Option<Jail>,
}

/// What makes it a jail.
#[derive(Clone, Debug)]
struct Jail {
    jailer: Utf8PathBuf,
    id: String,
    user: u32,
    /// The jailer's directory, deep in which the jail is.
    base: Utf8PathBuf,
    /// What is bound into it: files, and their names there.
    lent: Vec<(Utf8PathBuf, String)>,
}

impl Home {
    /// A VM's directory, as it is.
    pub(crate) fn open(dir: &Utf8Path) -> Self {
        Self { dir: dir.to_owned(), jail: None }
    }

    /// A jail in a VM's directory, for a VMM's program.
    pub(crate) fn jail(run: &RunDir, jailer: &Utf8Path, program: &Utf8Path) -> io::Result<Self> {
        let handle = run.handle();
        let user = jail_user(&handle).ok_or_else(|| io::Error::other("a name of another form"))?;
        // By which the process is known as the VM's.
        let id = format!("banger-{handle}");
        let base = run.path().join("jail");
        // Another may have been there, for a VM that did not come up.
        unless_gone(fs::remove_dir_all(&base))?;
        let program = program.canonicalize_utf8().unwrap_or_else(|_| program.to_owned());
        let dir = base.join(program.file_name().unwrap_or_default()).join(&id).join("root");
        fs::create_dir_all(&dir)?;
        let jail = Jail { jailer: jailer.to_owned(), id, user, base, lent: Vec::new() };
        Ok(Self { dir, jail: Some(jail) })
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Utf8Path {
        &self.dir
    }

    /// Puts a file or device under a name, in place of what had it.
    pub(crate) fn place(&mut self, file: &Utf8Path, name: &str, access: Access) -> io::Result<()> {
        let path = self.dir.join(name);
        unless_gone(fs::remove_file(&path))?;
        match &mut self.jail {
            None => fs::os::unix::fs::symlink(file, &path),
            Some(jail) => jail.admit(file, &path, name, access),
        }
    }

    /// Has a file be seen where else it would not be.
    pub(crate) fn lend(&mut self, file: &Utf8Path, name: &str) -> io::Result<()> {
        if self.jail.is_none() {
            return Ok(());
        }
        self.place(file, name, Access::ReadOnly)
    }

    /// Makes a pipe that Firecracker may write to, in place of one that is there.
    pub(super) fn make_pipe(&self, name: &str) -> io::Result<()> {
        let path = self.dir.join(name);
        unless_gone(fs::remove_file(&path))?;
        mknodat(CWD, path.as_std_path(), FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
        self.hand_over(name)
    }

    /// Gives a file that stands in it to Firecracker.
    pub(crate) fn hand_over(&self, name: &str) -> io::Result<()> {
        self.jail.as_ref().map_or(Ok(()), |jail| jail.own(&self.dir.join(name)))
    }

    /// What Firecracker knows a file by.
    pub(crate) fn told(&self, file: &Utf8Path) -> String {
        let mut lent = self.jail.iter().flat_map(|jail| &jail.lent);
        let name = lent.rfind(|(lent, _)| lent == file).map(|(_, name)| name.clone());
        name.unwrap_or_else(|| file.to_string())
    }

    /// The program, as it is to be started here; its own arguments are to follow.
    pub(super) fn command(
        &self,
        program: &Utf8Path,
        namespace: Option<&Utf8Path>,
    ) -> io::Result<Command> {
        let Some(jail) = &self.jail else {
            let mut command = Command::new(program);
            // By which it is known as one of ours, whatever its file is called.
            command.arg0(super::PROGRAM);
            command.current_dir(&self.dir).args(["--id", "vm"]);
            return Ok(command);
        };
        let mut command = Command::new(&jail.jailer);
        command.args(["--id", &jail.id, "--exec-file", program.canonicalize_utf8()?.as_str()]);
        command.args(["--uid", &jail.user.to_string(), "--gid", &GROUP.to_string()]);
        command.args(["--chroot-base-dir", jail.base.as_str()]);
        if let Some(namespace) = namespace {
            command.args(["--netns", namespace.as_str()]);
        }
        command.arg("--");
        jail.bind_in(&mut command, &self.dir);
        Ok(command)
    }

    /// Whether it is a jail.
    pub(super) fn is_jail(&self) -> bool {
        self.jail.is_some()
    }
}

impl Jail {
    /// Lets a file or device in under a name.
    fn admit(
        &mut self,
        file: &Utf8Path,
        path: &Utf8Path,
        name: &str,
        access: Access,
    ) -> io::Result<()> {
        let metadata = fs::metadata(file)?;
        if metadata.file_type().is_block_device() {
            let mode = Mode::from_raw_mode(0o600);
            mknodat(CWD, path.as_std_path(), FileType::BlockDevice, mode, metadata.rdev())?;
            return self.own(path);
        }
        let mode = metadata.permissions().mode();
        // What others need for it.
        let wanted = if access == Access::ReadOnly { 0o4 } else { 0o6 };
        if mode & wanted != wanted {
            let group = Some(Gid::from_raw(GROUP));
            chownat(CWD, file.as_std_path(), None, group, AtFlags::empty())?;
            let mode = std::fs::Permissions::from_mode(mode | wanted << 3);
            fs::set_permissions(file, mode)?;
        }
        fs::File::create(path)?;
        self.lent.push((file.to_owned(), name.to_owned()));
        Ok(())
    }

    /// Gives a file of the jail's own to its user.
    fn own(&self, path: &Utf8Path) -> io::Result<()> {
        let (user, group) = (Uid::from_raw(self.user), Gid::from_raw(GROUP));
        Ok(chownat(CWD, path.as_std_path(), Some(user), Some(group), AtFlags::empty())?)
    }

    /// Has the child bind what is lent, in a mount namespace of its own.
    fn bind_in(&self, command: &mut Command, dir: &Utf8Path) {
        let text = |path: &Utf8Path| std::ffi::CString::new(path.as_str()).ok();
        let pairs: Vec<_> = self
            .lent
            .iter()
            .filter_map(|(file, name)| Some((text(file)?, text(&dir.join(name))?)))
            .collect();
        let bind = move || {
            // SAFETY: the child has one thread, and shares no filesystem state with anybody.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS)? };
            mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
            pairs.iter().try_for_each(|(file, at)| mount_bind(file.as_c_str(), at.as_c_str()))?;
            Ok(())
        };
        // SAFETY: between fork and exec only unshare and mount run, on strings that are there.
        unsafe { command.pre_exec(bind) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rundir::Layout;

    #[test]
    fn without_a_jail_a_file_is_a_link_and_known_by_its_own_path() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let mut home = Home::open(dir);
        home.place(Utf8Path::new("/dev/dm-0"), "root.disk", Access::ReadWrite).unwrap();
        home.place(Utf8Path::new("/dev/dm-1"), "root.disk", Access::ReadWrite).unwrap();
        assert_eq!(fs::read_link(dir.join("root.disk")).unwrap().to_str(), Some("/dev/dm-1"));
        home.lend(Utf8Path::new("/no/such/kernel"), "vmlinux").unwrap();
        assert_eq!(home.told(Utf8Path::new("/no/such/kernel")), "/no/such/kernel");
    }

    #[tokio::test]
    async fn in_a_jail_a_file_is_known_by_its_name_there() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let run = RunDir::create(&Layout::under(dir), None).await.unwrap();
        let (jailer, program) = (Utf8Path::new("/j/jailer"), Utf8Path::new("/f/firecracker"));
        let mut home = Home::jail(&run, jailer, program).unwrap();
        assert!(home.dir().starts_with(run.path().join("jail/firecracker")));
        let kernel = dir.join("kernel");
        fs::write(&kernel, "").unwrap();
        fs::set_permissions(&kernel, std::fs::Permissions::from_mode(0o600)).unwrap();
        if !rustix::process::geteuid().is_root() {
            return eprintln!("left out: only root gives files to others");
        }
        home.lend(&kernel, "vmlinux").unwrap();
        assert_eq!(home.told(&kernel), "vmlinux");
        let mode = fs::metadata(&kernel).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640, "{mode:o}");
    }
}
