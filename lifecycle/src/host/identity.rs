//! Who runs us, and which subordinate user and group ids they may hand out in a user namespace.

use camino::Utf8Path;
use fs_err as fs;

use super::finding::{Finding, Purpose, Remedy, State};

/// How many ids a root filesystem needs: every uid that Debian gives out, and `nobody`.
pub const IDS_NEEDED: u64 = 65_536;

/// Linux's CAP_NET_ADMIN.
const CAP_NET_ADMIN: u32 = 12;

/// Who runs us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The effective user id.
    pub uid: u32,
    /// The user's name, where the password file has it.
    pub user: Option<String>,
    /// The effective capabilities, as the kernel's mask.
    pub capabilities: u64,
}

impl Identity {
    /// Who runs this process, by the files of a host at `root`.
    #[must_use]
    pub fn current(root: &Utf8Path) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let passwd = fs::read_to_string(root.join("etc/passwd")).unwrap_or_default();
        let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let capabilities = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        Self { uid, user: name_of(uid, &passwd), capabilities: capabilities.unwrap_or(0) }
    }

    /// Whether this is root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }

    /// Whether CAP_NET_ADMIN is in effect.
    #[must_use]
    pub fn may_administer_network(&self) -> bool {
        self.capabilities >> CAP_NET_ADMIN & 1 == 1
    }

    fn owns(&self, entry: &str) -> bool {
        self.user.as_deref() == Some(entry) || entry.parse() == Ok(self.uid)
    }
}

/// The text of `/etc/subuid` and `/etc/subgid`; `None` where there is no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubordinateIds {
    /// `/etc/subuid`.
    pub uids: Option<String>,
    /// `/etc/subgid`.
    pub gids: Option<String>,
}

impl SubordinateIds {
    /// Reads both files.
    #[must_use]
    pub fn read(root: &Utf8Path) -> Self {
        let read = |name| fs::read_to_string(root.join("etc").join(name)).ok();
        Self { uids: read("subuid"), gids: read("subgid") }
    }

    /// The first id from 100000 on behind everything handed out already, so that two users never
    /// share a range.
    #[must_use]
    pub fn first_free(&self) -> u64 {
        let texts = [&self.uids, &self.gids].into_iter().flatten();
        let ends = texts.flat_map(|text| ranges(text)).map(|(_, start, count)| start + count);
        ends.max().unwrap_or(0).max(100_000)
    }
}

/// The finding for a survey of an unprivileged user's host.
#[must_use]
pub fn finding(identity: &Identity, ids: &SubordinateIds) -> Finding {
    let largest = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        let own = ranges(text).filter(|(owner, ..)| identity.owns(owner));
        own.map(|(.., count)| count).max().unwrap_or(0)
    };
    let ready =
        |detail: String| Finding::ready("subids", "subordinate ids", Purpose::Image, detail);
    let (uids, gids) = (largest(&ids.uids), largest(&ids.gids));
    if uids.min(gids) >= IDS_NEEDED {
        return ready(format!("{uids} uids, {gids} gids"));
    }
    ready(format!(
        "{uids} uids in `/etc/subuid`, {gids} gids in `/etc/subgid`, {IDS_NEEDED} of each needed"
    ))
    .but(State::Missing, "no image can be built without root")
    .mended_by(remedy(identity, ids))
}

fn remedy(identity: &Identity, ids: &SubordinateIds) -> Remedy {
    let Some(user) = &identity.user else {
        let text = "have an administrator add this user to /etc/subuid and /etc/subgid";
        return Remedy::Advice(text.to_owned());
    };
    let first = ids.first_free();
    let range = format!("{first}-{}", first + IDS_NEEDED - 1);
    let add = ["usermod", "--add-subuids", &range, "--add-subgids", &range, user];
    if ids.uids.is_some() && ids.gids.is_some() {
        return Remedy::root_command(&add);
    }
    // usermod refuses these options where the files are not there.
    let script = format!("touch /etc/subuid /etc/subgid && {}", add.join(" "));
    Remedy::root_command(&["sh", "-c", &script])
}

/// Owner, first id and count of each line that has the three.
fn ranges(text: &str) -> impl Iterator<Item = (&str, u64, u64)> {
    text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let start: u32 = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.parse().ok()?;
        Some((owner, start.into(), count.into()))
    })
}

fn name_of(uid: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alice() -> Identity {
        Identity { uid: 1000, user: Some("alice".to_owned()), capabilities: 0 }
    }

    fn ids(uids: &str, gids: &str) -> SubordinateIds {
        SubordinateIds { uids: Some(uids.to_owned()), gids: Some(gids.to_owned()) }
    }

    #[test]
    fn a_range_by_name_or_by_number_is_enough() {
        let by_name = "bob:100000:65536\nalice:165536:65536\n";
        assert_eq!(finding(&alice(), &ids(by_name, by_name)).state, State::Ready);
        assert_eq!(finding(&alice(), &ids("1000:1:65536", by_name)).state, State::Ready);
    }

    #[test]
    fn the_range_offered_is_nobody_elses() {
        let finding = finding(&alice(), &ids("bob:100000:65536\n", "bad line\nbob:1:x\n"));
        assert!(finding.blocks_main_job());
        let Some(Remedy::Command { argv, needs_root: true }) = finding.remedy else { panic!() };
        let range = "165536-231071";
        assert_eq!(argv, ["usermod", "--add-subuids", range, "--add-subgids", range, "alice"]);
    }

    #[test]
    fn files_that_are_not_there_are_made_first() {
        let finding = finding(&alice(), &SubordinateIds::default());
        let Some(Remedy::Command { argv, .. }) = finding.remedy else { panic!() };
        assert_eq!(argv[..2], ["sh", "-c"]);
        assert!(argv[2].starts_with("touch /etc/subuid"), "{argv:?}");
        assert!(argv[2].contains("100000-165535"), "{argv:?}");
    }

    #[test]
    fn too_small_a_range_and_a_nameless_user_are_told() {
        let nameless = Identity { user: None, ..alice() };
        let finding = finding(&nameless, &ids("1000:100000:1000", ""));
        assert!(finding.detail.starts_with("1000 uids"), "{}", finding.detail);
        assert!(matches!(finding.remedy, Some(Remedy::Advice(_))));
    }

    #[test]
    fn names_and_capabilities_come_from_the_hosts_files() {
        assert_eq!(name_of(7, "root:x:0:0::/:/bin/sh\nlp:x:7:7:::\n").as_deref(), Some("lp"));
        assert_eq!(name_of(8, "broken\nlp:x:7:7:::\n"), None);
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("proc/self")).unwrap();
        fs::write(dir.path().join("proc/self/status"), "CapEff:\t0000000000001000\n").unwrap();
        let identity = Identity::current(Utf8Path::from_path(dir.path()).unwrap());
        assert_eq!(identity.user, None);
        assert!(identity.may_administer_network());
    }
}
