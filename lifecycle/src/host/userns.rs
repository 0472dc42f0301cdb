//! Whether an unprivileged user may make a user namespace: tried, and explained by the switches that
//! distributions put in the way.

use std::ffi::OsStr;
use std::time::Duration;

use camino::Utf8Path;
use fs_err as fs;

use super::finding::{Finding, Purpose, Remedy, State};
use super::version::ask;
use crate::process::{find_program, last_lines};

/// What became of making one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It was made.
    Worked,
    /// It was refused, with what was said.
    Refused(String),
    /// There is nothing to try it with.
    NotTried,
}

/// The switches that forbid it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// `kernel.unprivileged_userns_clone` is 0 (Debian's old patch).
    pub clone_off: bool,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1 (Ubuntu since 23.10).
    pub apparmor: bool,
    /// `user.max_user_namespaces` is 0.
    pub none_allowed: bool,
}

/// Makes a user namespace with a mapped root and its own mounts, and leaves it at once.
#[must_use]
pub fn attempt(path: Option<&OsStr>) -> Attempt {
    let Some(unshare) = find_program("unshare", path) else {
        return Attempt::NotTried;
    };
    let args = ["--user", "--map-root-user", "--mount", "true"];
    match ask(&unshare, &args, path, Duration::from_secs(5)) {
        Some(answer) if answer.status.success() => Attempt::Worked,
        Some(answer) => Attempt::Refused(last_lines(&answer.text, 1)),
        None => Attempt::Refused("no answer".to_owned()),
    }
}

/// Reads the switches; those that this kernel lacks are off.
#[must_use]
pub fn switches(root: &Utf8Path) -> Switches {
    let is = |name: &str, value: &str| {
        let text = fs::read_to_string(root.join("proc/sys").join(name));
        text.is_ok_and(|text| text.trim() == value)
    };
    Switches {
        clone_off: is("kernel/unprivileged_userns_clone", "0"),
        apparmor: is("kernel/apparmor_restrict_unprivileged_userns", "1"),
        none_allowed: is("user/max_user_namespaces", "0"),
    }
}

/// The finding for a survey of an unprivileged user's host.
#[must_use]
pub fn finding(attempt: &Attempt, switches: Switches) -> Finding {
    let ready =
        |detail: String| Finding::ready("userns", "user namespaces", Purpose::Image, detail);
    let cost = "no image can be built without root";
    let setting = blocking_setting(switches);
    let finding = match (attempt, setting) {
        (Attempt::Worked, None) => return ready("allowed".to_owned()),
        // AppArmor's profiles may let one program through and not the next.
        (Attempt::Worked, Some(setting)) => {
            let detail = format!("allowed, but `{setting}` is not set");
            ready(detail).but(State::Degraded, "building an image may be refused")
        }
        (Attempt::NotTried, None) => {
            return ready("not tried: no `unshare`".to_owned()).but(State::Degraded, cost);
        }
        (Attempt::Refused(_) | Attempt::NotTried, Some(setting)) => {
            ready(format!("refused until `{setting}`")).but(State::Missing, cost)
        }
        (Attempt::Refused(why), None) => ready(format!("refused: {why}")).but(State::Missing, cost),
    };
    finding.mended_by(match setting {
        Some(setting) => Remedy::root_command(&["sysctl", "-w", setting]),
        None => Remedy::Advice(
            "in a container, allow them (`--security-opt seccomp=unconfined`); in a chroot the \
             kernel never does; or run as root"
                .to_owned(),
        ),
    })
}

/// The setting that would lift what is in the way.
fn blocking_setting(switches: Switches) -> Option<&'static str> {
    if switches.none_allowed {
        Some("user.max_user_namespaces=15000")
    } else if switches.clone_off {
        Some("kernel.unprivileged_userns_clone=1")
    } else if switches.apparmor {
        Some("kernel.apparmor_restrict_unprivileged_userns=0")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake;
    use super::*;

    #[test]
    fn ubuntus_restriction_is_named_with_its_setting() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/sys/kernel")).unwrap();
        let switch = "proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        fs::write(dir.path().join(switch), "1\n").unwrap();
        let switches = switches(Utf8Path::from_path(dir.path()).unwrap());
        assert_eq!(switches, Switches { apparmor: true, ..Switches::default() });

        let refused = finding(&Attempt::Refused("write failed".to_owned()), switches);
        assert!(refused.blocks_main_job());
        let setting = "kernel.apparmor_restrict_unprivileged_userns=0";
        let remedy = Remedy::root_command(&["sysctl", "-w", setting]);
        assert_eq!(refused.remedy, Some(remedy));
        assert_eq!(finding(&Attempt::Worked, switches).state, State::Degraded);
    }

    #[test]
    fn a_refusal_without_a_switch_is_quoted() {
        let refused = Attempt::Refused("unshare: unshare failed: Operation not permitted".into());
        let finding = finding(&refused, Switches::default());
        assert!(finding.detail.contains("Operation not permitted"), "{}", finding.detail);
        assert!(matches!(finding.remedy, Some(Remedy::Advice(_))));
    }

    #[test]
    fn a_free_host_is_ready() {
        assert_eq!(finding(&Attempt::Worked, Switches::default()).state, State::Ready);
    }

    #[test]
    fn the_attempt_goes_through_unshare() {
        let dir = tempfile::tempdir().unwrap();
        let mut path = dir.path().as_os_str().to_owned();
        path.push(":/usr/bin:/bin");
        fake::program(dir.path(), "unshare", "exit 0");
        assert_eq!(attempt(Some(&path)), Attempt::Worked);
        fake::program(dir.path(), "unshare", "echo said; echo \"$@\"; exit 1");
        let args = "--user --map-root-user --mount true";
        assert_eq!(attempt(Some(&path)), Attempt::Refused(args.to_owned()));
    }
}
