//! Runs mmdebstrap: its arguments, its progress, what its failures mean.

use std::process::Stdio;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::process::Command;

use super::rights::Rights;
use super::{Log, Progress};
use crate::image::error::ImageError;
use crate::image::packages::PackageList;
use crate::image::recipe::Recipe;
use crate::process::{last_lines, tie_to_parent};

/// How the lines begin that mark mmdebstrap's steps, and what we call the steps.
const MARKS: [(&str, &str); 7] = [
    ("I: running apt-get update", "fetching the package index"),
    ("I: downloading packages", "downloading packages"),
    ("I: extracting archives", "unpacking the base system"),
    ("I: installing essential packages", "installing the base system"),
    ("I: installing remaining packages", "installing packages"),
    ("I: cleaning package lists", "cleaning up"),
    ("I: creating tarball", "writing the tree"),
];
/// How many steps there are.
pub(super) const STEPS: u64 = MARKS.len() as u64;

/// Options that make the guest smaller and the build faster. dpkg's are kept in the guest, where
/// they do the same for whatever a VM installs.
const OPTIONS: [&str; 7] = [
    "--variant=minbase",
    "--format=tar",
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
];
/// Keeps mounts and processes from outliving the build: they end with this process.
const CONTAINED: [&str; 6] =
    ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=unchanged"];
/// Runs its arguments with mounts that reach nobody else. In a chroot `/` need not be a mount point,
/// which `unshare` itself would take for an error.
const PRIVATELY: &str = r#"mount --make-rprivate / 2>/dev/null; exec "$@""#;
const TAIL: usize = 12;

/// One run.
pub(super) struct Run<'a> {
    pub(super) recipe: &'a Recipe,
    /// Where the tar goes, and all temporary files where we are root.
    pub(super) directory: &'a Utf8Path,
    pub(super) rights: Rights,
    pub(super) log: &'a Log,
    pub(super) progress: &'a Progress<'a>,
}

impl Run<'_> {
    /// Runs to the end and returns the tar's path.
    pub(super) async fn run(&self) -> Result<Utf8PathBuf, ImageError> {
        let tar = self.directory.join("root.tar");
        let mut command = self.command(&tar)?;
        self.log.line(&format!("{:?}", command.as_std()))?;
        let (reader, writer) = std::io::pipe().map_err(ImageError::io("make a pipe"))?;
        let stderr = writer.try_clone().map_err(ImageError::io("make a pipe"))?;

        let mut child = tie_to_parent(command.stdin(Stdio::piped()).stdout(writer).stderr(stderr))
            .kill_on_drop(self.rights.is_root())
            .spawn()
            .map_err(ImageError::io("start mmdebstrap"))?;
        let group = Group::of(&child);
        // The command holds the pipe's writing end: with it open the pipe would never end.
        drop(command);
        self.follow(reader).await?;
        let status = child.wait().await.map_err(ImageError::io("wait for mmdebstrap"))?;
        group.ended();
        if status.success() {
            return Ok(tar);
        }
        Err(failure(&self.log.text(), self.recipe.suite(), self.recipe.packages(), &self.log.path))
    }

    fn command(&self, tar: &Utf8Path) -> Result<Command, ImageError> {
        // Messages are understood in English only, and the guest's kernel boots with our own
        // initrd: making Debian's would take longer than any other package.
        let mut variables = vec![("LC_ALL", "C.UTF-8"), ("LANGUAGE", ""), ("INITRD", "No")];
        let temporary = self.directory.join("tmp");
        // What `sudo` leaves there when killed only root could remove.
        if self.rights == Rights::Root {
            fs::create_dir_all(&temporary).map_err(ImageError::io("prepare the build"))?;
            variables.push(("TMPDIR", temporary.as_str()));
        }
        let mut command = if self.rights.is_root() {
            let mut command = self.rights.command("unshare", &variables, tar);
            command.args(CONTAINED).args(["--", "sh", "-c", PRIVATELY, "sh"]);
            command.arg(super::path_of("mmdebstrap"));
            command
        } else {
            self.rights.command("mmdebstrap", &variables, tar)
        };
        command.args(arguments(self.recipe, tar, self.rights.is_root()));
        Ok(command)
    }

    async fn follow(&self, reader: std::io::PipeReader) -> Result<(), ImageError> {
        let failed = || ImageError::io("read what mmdebstrap says");
        let receiver = pipe::Receiver::from_owned_fd(reader.into()).map_err(failed())?;
        let mut lines = BufReader::new(receiver).split(b'\n');
        while let Some(line) = lines.next_segment().await.map_err(failed())? {
            let line = String::from_utf8_lossy(&line);
            self.log.line(&line)?;
            if let Some((done, what)) = step(&line) {
                self.progress.step(what, done);
            } else if line.starts_with("W: ") {
                self.progress.events.detail(format!("mmdebstrap: {line}"));
            }
        }
        Ok(())
    }
}

/// Asks all of mmdebstrap's processes to end when the build is given up, so that it removes its
/// temporary tree, which an unprivileged user cannot.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &tokio::process::Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0
            && let Err(error) = rustix::process::kill_process_group(group, Signal::TERM)
        {
            tracing::debug!(%error, "mmdebstrap is gone already");
        }
    }
}

fn arguments(recipe: &Recipe, tar: &Utf8Path, privileged: bool) -> Vec<String> {
    let packages: Vec<&str> = recipe.packages().iter().collect();
    let mut arguments: Vec<String> = OPTIONS.iter().map(|&option| option.to_owned()).collect();
    arguments.push(format!("--mode={}", if privileged { "root" } else { "unshare" }));
    arguments.push(format!("--include={}", packages.join(",")));
    arguments.push(recipe.suite().to_owned());
    arguments.push(tar.to_string());
    arguments.extend(recipe.mirror().map(str::to_owned));
    arguments
}

fn step(line: &str) -> Option<(u64, &'static str)> {
    let at = MARKS.iter().position(|(mark, _)| line.starts_with(mark))?;
    Some((at as u64, MARKS[at].1))
}

/// What a failed run's log means.
fn failure(text: &str, suite: &str, packages: &PackageList, log: &Utf8Path) -> ImageError {
    let unknown: Vec<String> = text.lines().filter_map(unknown_package).collect();
    if !unknown.is_empty() {
        let (suite, origin) = (suite.to_owned(), packages.origin().clone());
        return ImageError::UnknownPackage { packages: unknown, suite, origin };
    }
    let log = log.to_owned();
    if text.contains("No space left on device") {
        return ImageError::NoSpace { log };
    }
    let said = text.lines().filter(|line| !line.starts_with("I: ")).skip(1);
    let tail = last_lines(&said.collect::<Vec<_>>().join("\n"), TAIL);
    if contains_any(&tail, &UNPRIVILEGED) {
        ImageError::Unprivileged { tail }
    } else if contains_any(&tail, &DOWNLOAD) {
        // The lines around are apt's, the same for every file it could not fetch.
        let cause = tail.lines().rfind(|line| contains_any(line, &DOWNLOAD));
        let tail = cause.unwrap_or_default().trim().to_owned();
        ImageError::Download { tail, log }
    } else {
        ImageError::Mmdebstrap { tail, log }
    }
}

const UNPRIVILEGED: [&str; 5] =
    ["subuid", "subgid", "newuidmap", "unshare syscall failed", "unprivileged_userns_clone"];
const DOWNLOAD: [&str; 7] = [
    "Could not resolve",
    "Temporary failure resolving",
    "Could not connect",
    "Cannot initiate the connection",
    "Failed to fetch",
    "does not have a Release file",
    "Connection timed out",
];

fn contains_any(text: &str, needles: &[&str]) -> bool {
    needles.iter().any(|needle| text.contains(needle))
}

/// The package that one of apt's lines says it cannot find.
fn unknown_package(line: &str) -> Option<String> {
    let line = line.strip_prefix("E: ")?;
    if let Some(name) = line.strip_prefix("Unable to locate package ") {
        return Some(name.trim().to_owned());
    }
    if let Some(rest) = line.strip_prefix("Package '") {
        return Some(rest.strip_suffix("' has no installation candidate")?.to_owned());
    }
    let rest = line.strip_prefix("Version '")?.strip_suffix("' was not found")?;
    let (version, name) = rest.split_once("' for '")?;
    Some(format!("{name}={version}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::packages::Origin;

    fn list(text: &str) -> PackageList {
        PackageList::parse(text, Origin::File("/w/packages.apt".into())).unwrap()
    }

    fn fail(text: &str) -> ImageError {
        let text = format!("\"mmdebstrap\" \"--include=newuidmap\"\n{text}");
        failure(&text, "bookworm", &list("git"), Utf8Path::new("/logs/image.log"))
    }

    #[test]
    fn arguments_follow_the_recipe() {
        let mirror = Some("http://mirror/debian".to_owned());
        let recipe = Recipe::new("trixie", mirror, &list("git\ncurl=1:1")).unwrap();
        let got = arguments(&recipe, Utf8Path::new("/b/root.tar"), false);
        assert!(got.contains(&"--mode=unshare".to_owned()));
        let include = got.iter().find(|argument| argument.starts_with("--include=")).unwrap();
        assert!(include.contains("curl=1:1,") && include.contains(",openssh-server,"));
        assert_eq!(got[got.len() - 3..], ["trixie", "/b/root.tar", "http://mirror/debian"]);
        let recipe = Recipe::new("bookworm", None, &list("")).unwrap();
        let got = arguments(&recipe, Utf8Path::new("/b/root.tar"), true);
        assert!(got.contains(&"--mode=root".to_owned()));
        assert_eq!(got.last().unwrap(), "/b/root.tar");
    }

    #[test]
    fn steps_count_up() {
        assert_eq!(step("I: running apt-get update..."), Some((0, "fetching the package index")));
        assert_eq!(step("I: installing remaining packages inside the chroot...").unwrap().0, 4);
        assert_eq!(step("I: done"), None);
        assert_eq!(step("E: installing essential packages"), None);
    }

    #[test]
    fn unknown_packages_are_named_together() {
        let error = fail(
            "I: installing remaining packages inside the chroot...\n\
             Reading package lists...\n\
             E: Unable to locate package nosuchpkg1\n\
             E: Version '99.9' for 'curl' was not found\n\
             E: Package 'telnet-old' has no installation candidate\n\
             E: setup failed: E: apt-get failed\n",
        );
        let ImageError::UnknownPackage { packages, suite, origin } = &error else {
            panic!("{error}")
        };
        assert_eq!(packages[..], ["nosuchpkg1", "curl=99.9", "telnet-old"]);
        assert_eq!((suite.as_str(), origin), ("bookworm", list("").origin()));
        assert!(error.to_string().contains("`/w/packages.apt`"), "{error}");
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let error = fail("dpkg: error: cannot copy: No space left on device\nE: setup failed");
        assert!(matches!(error, ImageError::NoSpace { .. }));
        assert!(error.hint().is_some());
    }

    #[test]
    fn missing_rights_and_mirrors_have_hints() {
        let error = fail("W: no entry in /etc/subuid for user\nE: invalid idmap\n");
        assert!(matches!(error, ImageError::Unprivileged { .. }));
        assert!(error.hint().unwrap().contains("uidmap"));
        let error = fail(
            "Err:1 http://x bookworm InRelease\n\
             E: Failed to fetch http://x  Temporary failure resolving 'x'\n\
             E: apt-get update failed\n",
        );
        let ImageError::Download { tail, .. } = &error else { panic!("{error}") };
        assert_eq!(tail, "E: Failed to fetch http://x  Temporary failure resolving 'x'");
        assert!(error.hint().is_some());
    }

    #[test]
    fn any_other_failure_quotes_the_end_and_the_log() {
        let error = fail("I: extracting\ndpkg: error processing package foo\nE: setup failed\n");
        let text = error.to_string();
        assert!(text.contains("dpkg: error processing package foo"), "{text}");
        assert!(text.contains("/logs/image.log"), "{text}");
        assert!(!text.contains("I: extracting"), "{text}");
    }
}
