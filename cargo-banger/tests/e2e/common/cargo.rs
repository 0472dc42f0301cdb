//! Cargo in this repository, for the examples: their tests run in VMs of the program under test.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use camino::{Utf8Path, Utf8PathBuf};

use super::{BANGER, Outcome, Program, TestEnvironment, skip};

/// How a test ended, as far as harnesses agree about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Ignored,
}

/// Verdicts by test.
pub(crate) type Verdicts = BTreeMap<String, Verdict>;

/// Fails where two differ, and names only the tests that do.
#[track_caller]
pub(crate) fn assert_same(found: &Verdicts, expected: &Verdicts, outcome: &Outcome) {
    let names = found.keys().chain(expected.keys());
    let differ: BTreeMap<_, _> = names
        .map(|name| (name, (found.get(name), expected.get(name))))
        .filter(|(_, (found, expected))| found != expected)
        .collect();
    assert!(differ.is_empty(), "found and expected: {differ:#?}\n{outcome}");
}

/// This repository.
pub(crate) fn repository() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

impl TestEnvironment {
    /// Cargo with these arguments, in this repository.
    pub(crate) fn cargo<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Program {
        self.in_repository("cargo", args)
    }

    /// A program that runs cargo in this repository.
    pub(crate) fn in_repository<A: AsRef<OsStr>>(
        &self,
        program: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Program {
        self.program(program)
            .args(args)
            .directory(repository())
            .env("BANGER_BIN", BANGER)
            // Where the suite's own build is under way there would be a lock to wait for.
            .env("CARGO_TARGET_DIR", Utf8Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples"))
    }

    /// Builds one test target, and returns its executable.
    pub(crate) fn test_binary(&self, package: &str, target: &str) -> Utf8PathBuf {
        let args = ["test", "--no-run", "--message-format=json", "-p", package, "--test", target];
        let built = self.cargo(args).run().code(0);
        let lines = String::from_utf8_lossy(&built.stdout).into_owned();
        let messages = lines.lines().map(serde_json::from_str::<serde_json::Value>);
        let mut path = messages.filter_map(|message| {
            let message = message.ok()?;
            let ours = message["target"]["name"] == target;
            message["executable"].as_str().filter(|_| ours).map(Utf8PathBuf::from)
        });
        path.next_back().unwrap()
    }
}

/// Whether nextest is here; says why not.
pub(crate) fn has_nextest() -> bool {
    let there = std::process::Command::new("cargo-nextest").arg("--version").output();
    let there = there.is_ok_and(|output| output.status.success());
    if !there {
        skip("cargo-nextest is not installed");
    }
    there
}

/// The verdicts that libtest prints, or `cargo banger test --isolate test`.
pub(crate) fn libtest_verdicts(outcome: &Outcome) -> Verdicts {
    let text = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let verdict = |line: &str| {
        let (name, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
        let name = name.strip_suffix(" - should panic").unwrap_or(name);
        let name = name.trim_end().rsplit(' ').next()?;
        let verdict = match verdict.split([',', ' ']).next()? {
            "ok" => Verdict::Passed,
            "FAILED" => Verdict::Failed,
            "ignored" => Verdict::Ignored,
            _ => return None,
        };
        Some((name.to_owned(), verdict))
    };
    text.lines().filter_map(verdict).collect()
}

/// The verdicts that nextest prints with `--status-level all`.
pub(crate) fn nextest_verdicts(outcome: &Outcome) -> Verdicts {
    let verdict = |line: &str| {
        let mut words = line.split_whitespace();
        let verdict = match words.next()? {
            "PASS" | "LEAK" => Verdict::Passed,
            "FAIL" | "SIGABRT" | "SIGKILL" | "ABORT" | "TIMEOUT" => Verdict::Failed,
            "SKIP" => Verdict::Ignored,
            _ => return None,
        };
        Some((words.last()?.to_owned(), verdict))
    };
    outcome.stderr.lines().filter_map(verdict).collect()
}
