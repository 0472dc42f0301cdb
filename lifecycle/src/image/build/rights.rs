//! With what rights an image is built: root's, or those of root in a user namespace, or root's by
//! `sudo` where the kernel refuses such namespaces (in a chroot it always does).

use std::path::PathBuf;

use camino::Utf8Path;
use tokio::process::Command;

use super::path_of;
use crate::host::userns::{Attempt, attempt};
use crate::process::run_tool;

/// Runs a program for [`Rights::Sudo`]: gives its output file to us, and kills the program when
/// standard input ends, which is when we do. A death signal cannot do that: the kernel drops it
/// where a program gains rights.
///   $1 our uid:gid   $2 the output file   $3… the program and its arguments
const SUPERVISE: &str = r#"
owner=$1 output=$2
shift 2
exec 3<&0 </dev/null
"$@" &
child=$!
{ cat <&3 >/dev/null; kill -KILL "$child"; } 2>/dev/null &
watcher=$!
wait "$child"
status=$?
kill "$watcher" 2>/dev/null
[ ! -e "$output" ] || chown "$owner" "$output"
exit "$status"
"#;

/// Where the rights to unpack other users' files come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// We are root.
    Root,
    /// `sudo` makes us root without asking.
    Sudo,
    /// A user namespace in which we are root.
    Namespaces,
}

impl Rights {
    /// The least that works here; namespaces, with their own error, where nothing does.
    pub(super) async fn find() -> Self {
        if rustix::process::geteuid().is_root() {
            return Self::Root;
        }
        if attempt(None) == Attempt::Worked {
            return Self::Namespaces;
        }
        match run_tool(Command::new("sudo").args(["-n", "true"])).await {
            Ok(_) => Self::Sudo,
            Err(_) => Self::Namespaces,
        }
    }

    /// Whether the program that runs is really root.
    pub(super) fn is_root(self) -> bool {
        self != Self::Namespaces
    }

    /// A command that runs `program` with these rights and variables, and whose `output` is ours.
    ///
    /// For [`Rights::Sudo`], the command's standard input must stay open for as long as it runs.
    pub(super) fn command(
        self,
        program: &str,
        variables: &[(&str, &str)],
        output: &Utf8Path,
    ) -> Command {
        let program: PathBuf = path_of(program);
        if self != Self::Sudo {
            let mut command = Command::new(program);
            command.envs(variables.iter().copied());
            return command;
        }
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        let owner = format!("{}:{}", uid.as_raw(), gid.as_raw());
        let mut command = Command::new("sudo");
        command.args(["-n", "--", "env"]);
        command.args(variables.iter().map(|(name, value)| format!("{name}={value}")));
        command.args(["sh", "-c", SUPERVISE, "supervise", &owner, output.as_str()]).arg(program);
        command
    }
}
