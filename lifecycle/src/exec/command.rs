//! A command as the guest's shell is told it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use crate::process::quote;

/// One command for the guest.
///
/// It runs through a shell of its own that enters the directory, exports the variables and
/// reports death by signal `n` as status `128 + n`, since SSH itself carries no signal numbers
/// over a shared connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestCommand {
    argv: Vec<OsString>,
    directory: Option<Utf8PathBuf>,
    environment: Vec<(String, OsString)>,
    mark: Option<String>,
    user: Option<String>,
}

impl GuestCommand {
    /// A program and its arguments.
    #[must_use]
    pub fn new(argv: Vec<OsString>) -> Self {
        Self { argv, directory: None, environment: Vec::new(), mark: None, user: None }
    }

    /// The guest user's login shell, interactive.
    #[must_use]
    pub fn login_shell() -> Self {
        Self::new(vec!["bash".into(), "-l".into()])
    }

    /// Starts it in a directory of the guest.
    #[must_use]
    pub fn directory(mut self, directory: Option<&Utf8Path>) -> Self {
        self.directory = directory.map(Utf8Path::to_owned);
        self
    }

    /// Adds environment variables. Names may be such as no shell exports: cargo has programs' names
    /// in some of its own.
    #[must_use]
    pub fn environment(mut self, variables: Vec<(String, OsString)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Runs it as somebody else, who is made first where the guest has nobody of that name. Must be
    /// a valid user name.
    #[must_use]
    pub fn user(mut self, name: Option<&str>) -> Self {
        self.user = name.map(str::to_owned);
        self
    }

    /// Has the guest note the command's process group under `mark`, so that it can be signalled.
    pub(crate) fn marked(mut self, mark: &str) -> Self {
        self.mark = Some(mark.to_owned());
        self
    }

    /// The text for the guest's shell.
    pub(crate) fn shell_text(&self) -> Vec<u8> {
        let mut text = b"[ -r /etc/profile.d/banger.sh ] && . /etc/profile.d/banger.sh\n".to_vec();
        if let Some(mark) = &self.mark {
            // sshd gives each session without a terminal a process group led by this shell.
            text.extend(format!("echo $$ >/run/banger/group-{mark}\n").bytes());
        }
        if let Some(directory) = &self.directory {
            text.extend(format!("cd {} || exit 126\n", quote(directory.as_str())).bytes());
        }
        let (exported, odd): (Vec<_>, Vec<_>) =
            self.environment.iter().partition(|(name, _)| is_shell_name(name));
        for (name, value) in exported {
            text.extend(format!("export {name}=").bytes());
            push_quoted(&mut text, value);
            text.push(b'\n');
        }
        if let Some(user) = &self.user {
            text.extend(become_text(user).bytes());
        }
        // A trap that does something is reset in the child, so the command still gets the signal.
        text.extend(b"trap : INT TERM HUP\n");
        if !odd.is_empty() {
            text.extend(b"env ");
        }
        for (name, value) in odd {
            let mut word = OsString::from(name);
            word.push("=");
            word.push(value);
            push_quoted(&mut text, &word);
            text.push(b' ');
        }
        if self.user.is_some() {
            text.extend(b"setpriv --reuid=\"$uid\" --regid=\"$gid\" --init-groups -- ");
        }
        for word in &self.argv {
            push_quoted(&mut text, word);
            text.push(b' ');
        }
        text.extend(b"\nexit $?\n");
        text
    }
}

/// Finds or makes a user, and opens the way to sources that lie in root's home.
fn become_text(user: &str) -> String {
    let user = quote(user);
    format!(
        "id -u {user} >/dev/null 2>&1 || useradd --create-home --shell /bin/sh {user} || exit 126\n\
         uid=$(id -u {user}) gid=$(id -g {user}) && chmod o+x /root\n\
         export USER={user} LOGNAME={user} HOME=\"$(getent passwd {user} | cut -d: -f6)\"\n"
    )
}

/// Sends a signal to the process group noted under a mark.
pub(crate) fn signal_text(mark: &str, signal: &str) -> String {
    format!("kill -{signal} -- -\"$(cat /run/banger/group-{mark})\"")
}

/// Whether a shell can export a variable of that name.
#[must_use]
pub fn is_shell_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Quotes a word that need not be UTF-8.
fn push_quoted(text: &mut Vec<u8>, word: &OsStr) {
    text.push(b'\'');
    for &byte in word.as_bytes() {
        if byte == b'\'' {
            text.extend(br"'\''");
        } else {
            text.push(byte);
        }
    }
    text.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the text in the host's shell, as sshd would in the guest.
    fn run(command: &GuestCommand) -> std::process::Output {
        let text = OsString::from(OsStr::from_bytes(&command.shell_text()));
        std::process::Command::new("bash").arg("-c").arg(text).output().unwrap()
    }

    #[test]
    fn arguments_directories_and_variables_arrive_unchanged() {
        let odd = OsStr::from_bytes(b"it's \xff $HOME\n");
        let command = GuestCommand::new(vec![
            "sh".into(),
            "-c".into(),
            "printf '%s|%s|%s' \"$1\" \"$K\" \"$PWD\"".into(),
            "sh".into(),
            odd.into(),
        ])
        .directory(Some(Utf8Path::new("/usr/lib")))
        .environment(vec![("K".into(), "a 'b'".into())]);
        let output = run(&command);
        assert_eq!(output.stdout, b"it's \xff $HOME\n|a 'b'|/usr/lib");
        assert_eq!(output.status.code(), Some(0));
    }

    #[test]
    fn variables_that_no_shell_exports_arrive_too() {
        let variables = [("CARGO_BIN_EXE_a-b", "/it's/here"), ("PLAIN", "v")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.into()));
        // Not another shell, which would pass on what it can export only.
        let command = GuestCommand::new(vec!["env".into()]).environment(variables.into());
        let told = String::from_utf8(run(&command).stdout).unwrap();
        for line in ["CARGO_BIN_EXE_a-b=/it's/here", "PLAIN=v"] {
            assert!(told.lines().any(|told| told == line), "{told}");
        }
    }

    #[test]
    fn statuses_and_signals_are_reported_as_numbers() {
        let sh = |text: &str| GuestCommand::new(vec!["sh".into(), "-c".into(), text.into()]);
        assert_eq!(run(&sh("exit 7")).status.code(), Some(7));
        assert_eq!(run(&sh("kill -9 $$")).status.code(), Some(137));
        assert_eq!(run(&GuestCommand::new(vec!["no-such".into()])).status.code(), Some(127));
        let nowhere = sh("true").directory(Some(Utf8Path::new("/no/such")));
        assert_eq!(run(&nowhere).status.code(), Some(126));
    }
}
