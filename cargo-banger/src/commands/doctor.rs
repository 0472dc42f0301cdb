//! `cargo banger doctor`: tells what this host can do and what mends it, and mends it if asked.
//!
//! The looking and the commands are the library's; here they are shown, agreed upon and run.

mod mend;
mod render;

use std::io::{self, Write};
use std::process::ExitStatus;

use banger_lifecycle::host::fix::{FixError, PackageManager, Plan, Privilege};
use banger_lifecycle::host::{Finding, SurveyInput, main_job_possible, survey};
use banger_lifecycle::process::find_program;
use serde::Serialize;

use mend::{Operator, Outcome, Terminal};

/// The options of `cargo banger doctor`.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Install what is missing for running and for building images
    #[arg(long)]
    fix: bool,
    /// Do not ask before installing
    #[arg(long, short, requires = "fix")]
    yes: bool,
    /// Print the findings as JSON
    #[arg(long, conflicts_with = "fix")]
    json: bool,
}

/// Why doctor could not do its work. A host that is not ready is no error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DoctorError {
    /// The output, or the input that an answer was to come from, is gone.
    #[error("cannot write the findings or read the answer")]
    Output(#[source] io::Error),
    /// The commands cannot be run from here.
    #[error(transparent)]
    Fix(#[from] FixError),
    /// There is nobody to ask.
    #[error("not installing anything unasked: standard input is no terminal")]
    NobodyToAsk,
    /// A command cannot be started.
    #[error("cannot start `{command}`")]
    Start {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A command failed.
    #[error("`{command}` failed: {status}")]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
}

impl DoctorError {
    /// What mends it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Fix(error) => error.hint(),
            Self::NobodyToAsk => Some("add `--yes` to install without being asked".to_owned()),
            Self::Failed { .. } => Some(
                "its own message is above; what ran before it stays, and `--fix` can be run again"
                    .to_owned(),
            ),
            Self::Output(_) | Self::Start { .. } => None,
        }
    }
}

impl From<io::Error> for DoctorError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// How often `--fix` mends and looks again: a package manager may remove what was there to make
/// room for what was missing, such as an image tool that is newer than the VMM it installs.
const ROUNDS: usize = 2;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    ready: bool,
    findings: &'a [Finding],
}

/// Surveys the host and tells; with `--fix`, mends and tells again. Returns whether
/// `cargo banger run` can work.
///
/// Blocks for as long as the survey and the commands take.
pub(crate) fn run(
    args: &Args,
    input: &SurveyInput,
    out: &mut dyn Write,
) -> Result<bool, DoctorError> {
    run_with(args, input, out, &mut Terminal)
}

fn run_with(
    args: &Args,
    input: &SurveyInput,
    out: &mut dyn Write,
    operator: &mut dyn Operator,
) -> Result<bool, DoctorError> {
    let findings = survey(input);
    if args.json {
        let report = Report { ready: main_job_possible(&findings), findings: &findings };
        serde_json::to_writer_pretty(&mut *out, &report).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(report.ready);
    }
    let manager = PackageManager::detect(input.path.as_deref());
    let privilege = privilege(input);
    let tell = |findings: &[Finding], out: &mut dyn Write| {
        let plan = Plan::compose(findings, manager, privilege);
        render::report(findings, &plan, manager, privilege, out)?;
        Ok::<_, io::Error>(plan)
    };
    let mut findings = findings;
    let mut plan = tell(&findings, out)?;
    let rounds = if args.fix { ROUNDS } else { 0 };
    for _ in 0..rounds {
        if mend::mend(&plan, args.yes, operator, out)? == Outcome::Unchanged {
            break;
        }
        findings = survey(input);
        let before = plan;
        plan = tell(&findings, out)?;
        // What one round did not mend, the same commands will not mend either.
        if plan.is_empty() || plan == before {
            break;
        }
    }
    Ok(main_job_possible(&findings))
}

fn privilege(input: &SurveyInput) -> Privilege {
    if input.identity.is_root() {
        Privilege::Root
    } else if find_program("sudo", input.path.as_deref()).is_some() {
        Privilege::Sudo
    } else {
        Privilege::None
    }
}

#[cfg(test)]
mod tests {
    use banger_lifecycle::host::Identity;
    use camino::Utf8PathBuf;

    use super::mend::Scripted;
    use super::*;

    /// A host with nothing on it but the system's own directories.
    fn bare_host() -> (tempfile::TempDir, SurveyInput) {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let mut input = SurveyInput::new(Some(root.join("bin").into_string().into()), root.clone());
        input.identity = Identity { uid: 0, user: None, capabilities: 0 };
        input.mirror_host = "127.0.0.1".to_owned();
        input.root = root;
        (dir, input)
    }

    #[test]
    fn json_is_one_document_and_nothing_else() {
        let (_dir, input) = bare_host();
        let args = Args { json: true, ..Args::default() };
        let mut out = Vec::new();
        let ready = run_with(&args, &input, &mut out, &mut Scripted::default()).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(!ready);
        assert_eq!(json["ready"], false);
        let findings = json["findings"].as_array().unwrap();
        let keyring = findings.iter().find(|f| f["id"] == "debian-keyring").unwrap();
        assert_eq!(keyring["state"], "missing");
        assert_eq!(keyring["remedy"]["packages"]["apt"], "debian-archive-keyring");
    }

    #[test]
    fn a_bare_host_is_told_what_it_lacks() {
        let (_dir, input) = bare_host();
        let mut out = Vec::new();
        let ready = run_with(&Args::default(), &input, &mut out, &mut Scripted::default()).unwrap();
        let text = anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string();
        assert!(!ready);
        assert!(text.contains("!!  cargo"), "{text}");
        assert!(text.lines().last().unwrap().starts_with("not ready: "), "{text}");
    }

    #[test]
    fn fix_mends_and_looks_again() {
        let (dir, input) = bare_host();
        // A package manager that this test's host has: the fake is found by PATH.
        fs_err::create_dir(dir.path().join("bin")).unwrap();
        std::os::unix::fs::symlink("/bin/true", dir.path().join("bin/apt-get")).unwrap();
        let args = Args { fix: true, yes: true, ..Args::default() };
        let mut operator = Scripted::default();
        let mut out = Vec::new();
        run_with(&args, &input, &mut out, &mut operator).unwrap();
        assert_eq!(operator.ran[0], "apt-get update -q");
        assert!(operator.ran[1].contains("debian-archive-keyring"), "{:?}", operator.ran);
        let text = anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string();
        assert_eq!(text.matches("not ready: ").count(), 2, "{text}");
        assert_eq!(operator.ran.len(), 2, "the same commands again: {:?}", operator.ran);
    }

    #[test]
    fn fix_mends_what_its_own_first_round_broke() {
        let (dir, input) = bare_host();
        let bin = dir.path().join("bin");
        fs_err::create_dir(&bin).unwrap();
        for tool in ["apt-get", "qemu-img"] {
            std::os::unix::fs::symlink("/bin/true", bin.join(tool)).unwrap();
        }
        let args = Args { fix: true, yes: true, ..Args::default() };
        let mut operator = Scripted { breaks: Some(bin.join("qemu-img")), ..Scripted::default() };
        run_with(&args, &input, &mut Vec::new(), &mut operator).unwrap();
        assert!(!operator.ran[1].contains("qemu-utils"), "{:?}", operator.ran);
        assert!(operator.ran[3].contains("qemu-utils"), "{:?}", operator.ran);
    }
}
