//! Running the commands that mend a host, once the user agrees.

use std::io::{self, IsTerminal as _, Write};
use std::process::{Command, ExitStatus};

use banger_lifecycle::host::fix::{Plan, Step};

use super::DoctorError;

/// What became of mending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing was run.
    Unchanged,
    /// Every command was run, and none failed.
    Mended,
}

/// Who agrees to commands and runs them.
pub(super) trait Operator {
    /// Whether there is anybody to ask.
    fn is_there(&self) -> bool;
    /// Waits for a yes or a no.
    fn agrees(&mut self) -> io::Result<bool>;
    /// Runs a command to its end.
    fn run(&mut self, step: &Step) -> io::Result<ExitStatus>;
}

/// The user at the terminal; commands share it with us.
pub(super) struct Terminal;

impl Operator for Terminal {
    fn is_there(&self) -> bool {
        io::stdin().is_terminal()
    }

    fn agrees(&mut self) -> io::Result<bool> {
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        let answer = line.trim();
        Ok(answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes"))
    }

    fn run(&mut self, step: &Step) -> io::Result<ExitStatus> {
        let (program, args) = step.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        Command::new(program).args(args).status()
    }
}

/// Shows the plan, asks unless `yes`, and runs it.
pub(super) fn mend(
    plan: &Plan,
    yes: bool,
    operator: &mut dyn Operator,
    out: &mut dyn Write,
) -> Result<Outcome, DoctorError> {
    if plan.is_empty() {
        let what =
            if plan.left.is_empty() { "nothing to fix" } else { "nothing that --fix can fix" };
        writeln!(out, "{what}")?;
        return Ok(Outcome::Unchanged);
    }
    plan.check()?;
    writeln!(out, "\nto run:")?;
    for step in &plan.steps {
        writeln!(out, "    {}", step.shell_text())?;
    }
    if !yes && !agreed(operator, out)? {
        writeln!(out, "nothing was changed")?;
        return Ok(Outcome::Unchanged);
    }
    for step in &plan.steps {
        run(step, operator, out)?;
    }
    writeln!(out)?;
    Ok(Outcome::Mended)
}

fn agreed(operator: &mut dyn Operator, out: &mut dyn Write) -> Result<bool, DoctorError> {
    if !operator.is_there() {
        return Err(DoctorError::NobodyToAsk);
    }
    write!(out, "run this? [y/N] ")?;
    out.flush()?;
    Ok(operator.agrees()?)
}

fn run(step: &Step, operator: &mut dyn Operator, out: &mut dyn Write) -> Result<(), DoctorError> {
    let command = step.shell_text();
    writeln!(out, "+ {command}")?;
    // The command writes to the same terminal: what we have said comes first.
    out.flush()?;
    let status = operator
        .run(step)
        .map_err(|source| DoctorError::Start { command: command.clone(), source })?;
    if status.success() { Ok(()) } else { Err(DoctorError::Failed { command, status }) }
}

/// An operator for tests: answers as told, runs nothing.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Scripted {
    /// The answer to every question; `None` where there is nobody to ask.
    pub(super) answer: Option<bool>,
    /// The exit status of every command.
    pub(super) status: ExitStatus,
    /// The commands, in order.
    pub(super) ran: Vec<String>,
    /// What the first command removes, as package managers do.
    pub(super) breaks: Option<std::path::PathBuf>,
}

#[cfg(test)]
impl Operator for Scripted {
    fn is_there(&self) -> bool {
        self.answer.is_some()
    }

    fn agrees(&mut self) -> io::Result<bool> {
        Ok(self.answer == Some(true))
    }

    fn run(&mut self, step: &Step) -> io::Result<ExitStatus> {
        self.ran.push(step.shell_text());
        self.breaks.take().map(fs_err::remove_file).transpose()?;
        Ok(self.status)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use banger_lifecycle::host::fix::{PackageManager, Privilege};
    use banger_lifecycle::host::{Finding, Purpose, Remedy, State};

    use super::*;

    fn plan(privilege: Privilege) -> Plan {
        let remedy = Remedy::root_command(&["sysctl", "-w", "a=1"]);
        let finding = Finding::ready("a", "A", Purpose::Run, "not there")
            .but(State::Missing, "less")
            .mended_by(remedy);
        Plan::compose(&[finding], Some(PackageManager::Apt), privilege)
    }

    fn try_mend(
        plan: &Plan,
        yes: bool,
        operator: &mut Scripted,
    ) -> (Result<Outcome, DoctorError>, String) {
        let mut out = Vec::new();
        let outcome = mend(plan, yes, operator, &mut out);
        (outcome, String::from_utf8(out).unwrap())
    }

    #[test]
    fn nothing_runs_without_a_yes() {
        let mut operator = Scripted { answer: Some(false), ..Scripted::default() };
        let (outcome, text) = try_mend(&plan(Privilege::Root), false, &mut operator);
        assert_eq!(outcome.unwrap(), Outcome::Unchanged);
        assert!(text.contains("sysctl -w a=1\nrun this? [y/N] "), "{text}");
        assert!(text.ends_with("nothing was changed\n"), "{text}");
        assert!(operator.ran.is_empty());
    }

    #[test]
    fn a_yes_or_the_flag_runs_the_commands() {
        for (yes, answer) in [(true, None), (false, Some(true))] {
            let mut operator = Scripted { answer, ..Scripted::default() };
            let (outcome, _) = try_mend(&plan(Privilege::Sudo), yes, &mut operator);
            assert_eq!(outcome.unwrap(), Outcome::Mended);
            assert_eq!(operator.ran, ["sudo sysctl -w a=1"]);
        }
    }

    #[test]
    fn nobody_to_ask_is_an_error_with_the_flag_as_hint() {
        let (outcome, _) = try_mend(&plan(Privilege::Root), false, &mut Scripted::default());
        let error = outcome.unwrap_err();
        assert!(matches!(error, DoctorError::NobodyToAsk), "{error:?}");
        assert!(error.hint().unwrap().contains("--yes"));
    }

    #[test]
    fn without_root_or_sudo_the_commands_are_handed_over() {
        let mut operator = Scripted::default();
        let (outcome, _) = try_mend(&plan(Privilege::None), true, &mut operator);
        let error = outcome.unwrap_err();
        assert!(error.hint().unwrap().contains("sysctl -w a=1"));
        assert!(operator.ran.is_empty());
    }

    #[test]
    fn a_failing_command_is_named_and_ends_it() {
        let status = ExitStatus::from_raw(100 << 8);
        let mut operator = Scripted { status, ..Scripted::default() };
        let (outcome, _) = try_mend(&plan(Privilege::Root), true, &mut operator);
        let error = outcome.unwrap_err().to_string();
        assert!(error.contains("`sysctl -w a=1` failed") && error.contains("100"), "{error}");
    }

    #[test]
    fn nothing_to_do_is_said() {
        let (outcome, text) = try_mend(&Plan::default(), false, &mut Scripted::default());
        assert_eq!(outcome.unwrap(), Outcome::Unchanged);
        assert_eq!(text, "nothing to fix\n");
    }
}
