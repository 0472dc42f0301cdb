//! A command, as the guest's agent is told it.

use std::ffi::OsString;
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
    pub(crate) fn for_agent(&self) -> Result<Vec<u8>, ExecError> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
