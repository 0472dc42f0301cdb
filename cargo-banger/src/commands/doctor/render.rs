//! The findings as text: one line each, below it what its absence costs and what mends it.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use banger_lifecycle::host::fix::plan::remedy_text;
use banger_lifecycle::host::fix::{PackageManager, Plan, Privilege};
use banger_lifecycle::host::{Finding, Purpose, State, main_job_possible};

const GOOD: Style = AnsiColor::Green.on_default();
const SO_SO: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const BOLD: Style = Style::new().bold();

/// Writes the findings and a last line that sums them up.
pub(super) fn report(
    findings: &[Finding],
    plan: &Plan,
    manager: Option<PackageManager>,
    privilege: Privilege,
    out: &mut dyn Write,
) -> io::Result<()> {
    let width = findings.iter().map(|finding| finding.title.len()).max().unwrap_or(0);
    for finding in findings {
        let (style, mark) = mark(finding);
        let Finding { title, detail, .. } = finding;
        writeln!(out, "{style}{mark}{style:#}  {BOLD}{title:<width$}{BOLD:#}  {detail}")?;
        if finding.state == State::Ready {
            continue;
        }
        if let Some(cost) = &finding.cost {
            writeln!(out, "      cost: {cost}")?;
        }
        if let Some(remedy) = &finding.remedy {
            writeln!(out, "      fix:  {}", remedy_text(remedy, manager, privilege))?;
        }
    }
    summary(findings, plan, out)
}

/// `ok` works, `--` is worth knowing, `!!` stops `cargo banger run`.
fn mark(finding: &Finding) -> (Style, &'static str) {
    match finding.state {
        State::Ready => (GOOD, "ok"),
        State::Missing if finding.required => (BAD, "!!"),
        State::Missing | State::Degraded => (SO_SO, "--"),
    }
}

fn summary(findings: &[Finding], plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    if main_job_possible(findings) {
        let how = how_guests_run(findings);
        return writeln!(out, "{GOOD}ready{GOOD:#}: `cargo banger run -- true` will work ({how})");
    }
    let missing = findings.iter().filter(|finding| finding.blocks_main_job()).count();
    let (noun, verb) = if missing == 1 { ("requirement", "is") } else { ("requirements", "are") };
    let remedy = match (plan.mends, plan.left.len()) {
        (0, _) => "what mends it is said above".to_owned(),
        (_, 0) => {
            let what = if missing == 1 { "it" } else { "them" };
            format!("`cargo banger doctor --fix` mends {what}")
        }
        (mends, _) => format!(
            "`cargo banger doctor --fix` mends {mends}, and leaves to you: {}",
            plan.left.join(", ")
        ),
    };
    writeln!(out, "{BAD}not ready{BAD:#}: {missing} {noun} {verb} missing; {remedy}")
}

fn how_guests_run(findings: &[Finding]) -> String {
    let find = |id| findings.iter().find(|finding| finding.id == id);
    if find("firecracker").is_some_and(|finding| finding.purpose == Purpose::Run) {
        return "Firecracker".to_owned();
    }
    match find("kvm") {
        Some(kvm) if kvm.state == State::Ready => "QEMU with KVM".to_owned(),
        Some(kvm) => format!("QEMU with TCG: {}", kvm.detail),
        None => "QEMU".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use banger_lifecycle::host::Remedy;
    use banger_lifecycle::host::fix::Package;

    use super::*;

    fn rendered(findings: &[Finding], privilege: Privilege) -> String {
        let manager = Some(PackageManager::Apt);
        let plan = Plan::compose(findings, manager, privilege);
        let mut out = Vec::new();
        report(findings, &plan, manager, privilege, &mut out).unwrap();
        anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
    }

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ready("qemu", "qemu", Purpose::Run, "7.2.22, /usr/bin/qemu"),
            Finding::ready("mmdebstrap", "mmdebstrap", Purpose::Image, "not found")
                .but(State::Missing, "no image can be built")
                .mended_by(Remedy::Packages(Package::Mmdebstrap)),
            Finding::ready("kvm", "KVM", Purpose::Optional, "no device")
                .but(State::Degraded, "slower"),
        ]
    }

    #[test]
    fn a_host_that_lacks_something_reads_like_this() {
        let expected = "\
ok  qemu        7.2.22, /usr/bin/qemu
!!  mmdebstrap  not found
      cost: no image can be built
      fix:  sudo apt-get install --no-install-recommends mmdebstrap
--  KVM         no device
      cost: slower
not ready: 1 requirement is missing; `cargo banger doctor --fix` mends it
";
        assert_eq!(rendered(&findings(), Privilege::Sudo), expected);
    }

    #[test]
    fn a_ready_host_says_how_guests_run() {
        let mut findings = findings();
        findings.remove(1);
        let text = rendered(&findings, Privilege::Root);
        let last = "ready: `cargo banger run -- true` will work (QEMU with TCG: no device)\n";
        assert!(text.ends_with(last), "{text}");
        findings[1] = Finding::ready("kvm", "KVM", Purpose::Optional, "");
        assert!(rendered(&findings, Privilege::Root).ends_with("(QEMU with KVM)\n"));
    }

    #[test]
    fn what_fix_cannot_mend_is_named() {
        let mut findings = findings();
        let cargo = Finding::ready("cargo", "cargo", Purpose::Run, "not found")
            .but(State::Missing, "nothing builds")
            .mended_by(Remedy::Advice("install Rust".to_owned()));
        findings.push(cargo);
        let text = rendered(&findings, Privilege::Root);
        assert!(text.contains("2 requirements are missing"), "{text}");
        assert!(text.ends_with("mends 1, and leaves to you: cargo\n"), "{text}");
        findings.remove(1);
        assert!(rendered(&findings, Privilege::Root).ends_with("what mends it is said above\n"));
    }

    #[test]
    fn what_needs_colour_is_written_with_it() {
        let mut out = Vec::new();
        report(&findings(), &Plan::default(), None, Privilege::Root, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("\u{1b}["));
    }
}
