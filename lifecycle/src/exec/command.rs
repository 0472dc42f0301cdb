//! A command, as the guest's agent is told it, and as a shell is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::ExecError;
use crate::process::quote;

/// One command for the guest.
///
/// The guest's agent starts it as `execvp` would: what only a shell knows is no command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestCommand {
    argv: Vec<OsString>,
    directory: Option<Utf8PathBuf>,
    environment: Vec<(String, OsString)>,
    user: Option<String>,
}

impl GuestCommand {
    /// A program and its arguments.
    #[must_use]
    pub fn new(argv: Vec<OsString>) -> Self {
        Self { argv, directory: None, environment: Vec::new(), user: None }
    }

    /// The guest user's login shell, interactive.
    #[must_use]
    pub fn login_shell() -> Self {
        Self::new(vec!["bash".into(), "-l".into()])
    }

    /// Gives it variables that come before its own.
    pub(crate) fn within(mut self, variables: &[(String, OsString)]) -> Self {
        self.environment.splice(0..0, variables.iter().cloned());
        self
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

    /// As the agent is told it: directory, variables, nothing, words, a zero byte after each.
    pub(super) fn for_agent(&self) -> Result<Vec<u8>, ExecError> {
        let directory = self.directory.as_ref().map_or("", |directory| directory.as_str());
        let mut texts = vec![directory.as_bytes().to_vec()];
        let variables = self.environment.iter().enumerate();
        // The last of a name counts; some programs would take the first, though.
        let last = |(at, (name, _)): &(usize, &(String, OsString))| {
            !self.environment[at + 1..].iter().any(|(other, _)| other == name)
        };
        for (_, (name, value)) in variables.filter(last) {
            texts.push([name.as_bytes(), b"=", value.as_bytes()].concat());
        }
        if !directory.is_empty() {
            texts.push(format!("PWD={directory}").into_bytes());
        }
        texts.push(Vec::new());
        texts.extend(self.words().iter().map(|word| word.as_bytes().to_vec()));
        if texts.iter().any(|text| text.contains(&0)) {
            return Err(ExecError::ZeroByte);
        }
        Ok(texts.iter().flat_map(|text| text.iter().chain(&[0])).copied().collect())
    }

    /// The words, with those before them that make it somebody else's.
    fn words(&self) -> Vec<OsString> {
        let Some(user) = &self.user else { return self.argv.clone() };
        let script = format!("{}exec {SETPRIV} \"$@\"", become_text(user));
        let shell = ["sh".into(), "-c".into(), script.into(), "sh".into()];
        shell.into_iter().chain(self.argv.iter().cloned()).collect()
    }

    /// The text for a shell that sees to it that death by signal `n` is status `128 + n`, since SSH
    /// itself carries no signal numbers over a shared connection.
    pub(super) fn for_ssh(&self) -> Vec<u8> {
        let mut text = b"[ -r /etc/profile.d/banger.sh ] && . /etc/profile.d/banger.sh\n".to_vec();
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
        for word in self.words() {
            push_quoted(&mut text, &word);
            text.push(b' ');
        }
        text.extend(b"\nexit $?\n");
        text
    }
}

/// Becomes the user that [`become_text`] has found, and then a command.
const SETPRIV: &str = "setpriv --reuid=\"$uid\" --regid=\"$gid\" --init-groups --";

/// Finds or makes a user, and opens the way to sources that lie in root's home.
fn become_text(user: &str) -> String {
    let user = quote(user);
    format!(
        "id -u {user} >/dev/null 2>&1 || useradd --create-home --shell /bin/sh {user} || exit 126\n\
         uid=$(id -u {user}) gid=$(id -g {user}) && chmod o+x /root\n\
         export USER={user} LOGNAME={user} HOME=\"$(getent passwd {user} | cut -d: -f6)\"\n"
    )
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
        let text = command.for_ssh();
        std::process::Command::new("sh").arg("-c").arg(OsStr::from_bytes(&text)).output().unwrap()
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

    #[test]
    fn the_agent_is_told_each_variable_once() {
        let variable = |value: &str| vec![("K".to_owned(), value.into())];
        let command = GuestCommand::new(vec!["a".into(), OsString::new()])
            .environment(variable("2"))
            .within(&variable("1"));
        assert_eq!(command.for_agent().unwrap(), b"\0K=2\0\0a\0\0");
        let zero = GuestCommand::new(vec!["a\0b".into()]).for_agent();
        assert!(matches!(zero, Err(ExecError::ZeroByte)), "{zero:?}");
    }
}
