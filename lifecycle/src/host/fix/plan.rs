//! One list of commands that mends many findings.

use super::packages::{Package, PackageManager};
use crate::host::finding::{Finding, Purpose, Remedy, State};
use crate::process::quote;

/// How commands for root are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// As they are: we are root.
    Root,
    /// Through sudo.
    Sudo,
    /// Not at all.
    None,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The program and its arguments.
    pub argv: Vec<String>,
}

impl Step {
    /// A command, made root's where it needs that. Without any way to become root it is as a root
    /// shell would take it.
    #[must_use]
    pub fn new(mut argv: Vec<String>, needs_root: bool, privilege: Privilege) -> Self {
        if needs_root && privilege == Privilege::Sudo {
            argv.insert(0, "sudo".to_owned());
        }
        Self { argv }
    }

    /// The command as one would type it in a shell.
    #[must_use]
    pub fn shell_text(&self) -> String {
        let words: Vec<_> = self.argv.iter().map(|word| quoted(word)).collect();
        words.join(" ")
    }
}

/// Commands to run one after the other, and what they leave as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The commands.
    pub steps: Vec<Step>,
    /// How many findings they mend.
    pub mends: usize,
    /// The titles of things needed for a run or an image that no command of ours mends.
    pub left: Vec<&'static str>,
    /// Whether a command needs root and there is no way to be root.
    pub blocked: bool,
}

/// Why nothing can be mended from here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FixError {
    /// The commands need root.
    #[error("installing needs root, and there is no sudo")]
    NeedsRoot {
        /// The commands, one a line.
        commands: String,
    },
}

impl FixError {
    /// What mends it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NeedsRoot { commands } => Some(format!("as root, run:\n{commands}")),
        }
    }
}

impl Plan {
    /// Composes the commands for all that a run or an image needs and misses. All packages go into
    /// one command; the optional is left alone.
    #[must_use]
    pub fn compose(
        findings: &[Finding],
        manager: Option<PackageManager>,
        privilege: Privilege,
    ) -> Self {
        let mut plan = Self::default();
        let mut names: Vec<&'static str> = Vec::new();
        let mut commands = Vec::new();
        let needed = |finding: &&Finding| {
            finding.state == State::Missing && finding.purpose != Purpose::Optional
        };
        for finding in findings.iter().filter(needed) {
            match &finding.remedy {
                Some(Remedy::Packages(package)) if name(*package, manager).is_some() => {
                    names.extend(name(*package, manager).filter(|name| !names.contains(name)));
                    plan.mends += 1;
                }
                Some(Remedy::Command { argv, needs_root }) => {
                    commands.push((argv.clone(), *needs_root));
                    plan.mends += 1;
                }
                Some(Remedy::Packages(_) | Remedy::Advice(_)) | None => {
                    plan.left.push(finding.title);
                }
            }
        }
        let mut all: Vec<(Vec<String>, bool)> = match manager {
            Some(manager) if !names.is_empty() => {
                manager.install_unattended(&names).into_iter().map(|argv| (argv, true)).collect()
            }
            _ => Vec::new(),
        };
        // Packages first: `usermod` and its like may come with one of them.
        all.append(&mut commands);
        plan.blocked = privilege == Privilege::None && all.iter().any(|(_, root)| *root);
        let step = |(argv, needs_root)| Step::new(argv, needs_root, privilege);
        plan.steps = all.into_iter().map(step).collect();
        plan
    }

    /// Whether there is nothing to run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The commands as one would type them, one a line.
    #[must_use]
    pub fn shell_text(&self) -> String {
        let lines: Vec<_> = self.steps.iter().map(Step::shell_text).collect();
        lines.join("\n")
    }

    /// Passes where every command can be run from here.
    ///
    /// # Errors
    /// [`FixError::NeedsRoot`] with the commands.
    pub fn check(&self) -> Result<(), FixError> {
        if self.blocked {
            return Err(FixError::NeedsRoot { commands: self.shell_text() });
        }
        Ok(())
    }
}

/// The command, or the advice, that mends one finding, as one would read it.
#[must_use]
pub fn remedy_text(
    remedy: &Remedy,
    manager: Option<PackageManager>,
    privilege: Privilege,
) -> String {
    // For reading, whoever is not root is told to use sudo.
    let shown = if privilege == Privilege::Root { Privilege::Root } else { Privilege::Sudo };
    match (remedy, manager) {
        (Remedy::Advice(text), _) => text.clone(),
        (Remedy::Command { argv, needs_root }, _) => {
            Step::new(argv.clone(), *needs_root, shown).shell_text()
        }
        (Remedy::Packages(package), Some(manager)) => match package.name(manager) {
            Some(name) => Step::new(manager.install(&[name]), true, shown).shell_text(),
            None => {
                let debian = package.name(PackageManager::Apt).unwrap_or_default();
                format!("no package for {manager} is known; Debian's is called `{debian}`")
            }
        },
        (Remedy::Packages(package), None) => {
            let debian = package.name(PackageManager::Apt).unwrap_or_default();
            format!("install what Debian calls `{debian}`")
        }
    }
}

fn name(package: Package, manager: Option<PackageManager>) -> Option<&'static str> {
    manager.and_then(|manager| package.name(manager))
}

/// Quotes a word for a POSIX shell, where it needs that.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    quote(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(title: &'static str, purpose: Purpose, remedy: Remedy) -> Finding {
        Finding::ready(title, title, purpose, "not found")
            .but(State::Missing, "less")
            .mended_by(remedy)
    }

    fn findings() -> Vec<Finding> {
        vec![
            missing("qemu", Purpose::Run, Remedy::Packages(Package::Qemu)),
            missing("ssh", Purpose::Run, Remedy::Packages(Package::Ssh)),
            missing("ssh-keygen", Purpose::Run, Remedy::Packages(Package::SshKeygen)),
            missing("mmdebstrap", Purpose::Image, Remedy::Packages(Package::Mmdebstrap)),
            missing("subids", Purpose::Image, Remedy::root_command(&["usermod", "alice"])),
            missing("cargo", Purpose::Run, Remedy::Advice("rustup".to_owned())),
            missing("tap", Purpose::Optional, Remedy::root_command(&["modprobe", "tun"])),
            Finding::ready("tar", "tar", Purpose::Run, "1.34"),
        ]
    }

    #[test]
    fn packages_go_into_one_command_and_optional_things_are_left_alone() {
        let plan = Plan::compose(&findings(), Some(PackageManager::Apt), Privilege::Root);
        let install = "env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
                       --no-install-recommends qemu-system-x86 openssh-client mmdebstrap";
        assert_eq!(plan.shell_text(), format!("apt-get update -q\n{install}\nusermod alice"));
        assert_eq!((plan.mends, plan.left.as_slice()), (5, ["cargo"].as_slice()));
        assert_eq!(plan.check(), Ok(()));
    }

    #[test]
    fn an_unprivileged_user_goes_through_sudo() {
        let plan = Plan::compose(&findings(), Some(PackageManager::Dnf), Privilege::Sudo);
        for step in &plan.steps {
            assert_eq!(step.argv[0], "sudo", "{step:?}");
        }
        assert_eq!(plan.check(), Ok(()));
    }

    #[test]
    fn without_sudo_the_commands_are_in_the_hint() {
        let plan = Plan::compose(&findings(), Some(PackageManager::Apk), Privilege::None);
        let hint = plan.check().unwrap_err().hint().unwrap();
        assert!(hint.contains("\napk add qemu-system-x86_64 openssh\nusermod alice"), "{hint}");
        assert_eq!(plan.left, ["mmdebstrap", "cargo"]);
    }

    #[test]
    fn nothing_missing_is_an_empty_plan() {
        let ready = [Finding::ready("tar", "tar", Purpose::Run, "1.34")];
        assert!(Plan::compose(&ready, None, Privilege::None).is_empty());
        let plan = Plan::compose(&findings()[..1], None, Privilege::Root);
        assert!(plan.is_empty());
        assert_eq!(plan.left, ["qemu"]);
    }

    #[test]
    fn remedies_read_as_commands() {
        let package = Remedy::Packages(Package::Mmdebstrap);
        let apt = remedy_text(&package, Some(PackageManager::Apt), Privilege::None);
        assert_eq!(apt, "sudo apt-get install --no-install-recommends mmdebstrap");
        let pacman = remedy_text(&package, Some(PackageManager::Pacman), Privilege::Root);
        assert!(pacman.contains("no package for pacman"), "{pacman}");
        let script = Remedy::root_command(&["sh", "-c", "touch a && echo 'b'"]);
        let text = remedy_text(&script, None, Privilege::Root);
        assert_eq!(text, r"sh -c 'touch a && echo '\''b'\'''");
    }
}
