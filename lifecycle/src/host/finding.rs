//! One thing a survey looked at: how it stands, what its absence costs, what mends it.

use serde::Serialize;

use super::fix::packages::Package;

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There, and good enough.
    Ready,
    /// Work goes on without it, slower or with less.
    Degraded,
    /// Not there, or of no use.
    Missing,
}

/// What a thing is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Every `cargo banger run`.
    Run,
    /// Building an image, which the first run does.
    Image,
    /// Nothing that has no stand-in.
    Optional,
}

/// What mends a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// A package of the system; written as its names per package manager.
    Packages(Package),
    /// A command.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// Whether only root may run it.
        needs_root: bool,
    },
    /// What no command does.
    Advice(String),
}

impl Remedy {
    /// A command for root, from plain words.
    #[must_use]
    pub fn root_command(argv: &[&str]) -> Self {
        Self::Command { argv: argv.iter().map(ToString::to_string).collect(), needs_root: true }
    }
}

/// One thing a survey looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable name for programs.
    pub id: &'static str,
    /// A short name for people.
    pub title: &'static str,
    /// How it stands.
    pub state: State,
    /// The version, the place, the amount; or why it is not there.
    pub detail: String,
    /// What it is needed for.
    pub purpose: Purpose,
    /// Whether `cargo banger run` cannot do without it on this host as it stands.
    pub required: bool,
    /// What its absence costs, as one phrase; set unless ready.
    pub cost: Option<String>,
    /// What mends it; set at most where not ready.
    pub remedy: Option<Remedy>,
}

impl Finding {
    /// Something that is there. `required` follows from `purpose` until a survey knows better.
    #[must_use]
    pub fn ready(
        id: &'static str,
        title: &'static str,
        purpose: Purpose,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            id,
            title,
            state: State::Ready,
            detail: detail.into(),
            purpose,
            required: purpose != Purpose::Optional,
            cost: None,
            remedy: None,
        }
    }

    /// The same with another state and what that costs.
    #[must_use]
    pub fn but(mut self, state: State, cost: impl Into<String>) -> Self {
        self.state = state;
        self.cost = Some(cost.into());
        self
    }

    /// The same with what mends it.
    #[must_use]
    pub fn mended_by(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Whether this alone keeps `cargo banger run` from working.
    #[must_use]
    pub fn blocks_main_job(&self) -> bool {
        self.required && self.state == State::Missing
    }
}

/// Whether `cargo banger run` can work: nothing that it requires is missing.
#[must_use]
pub fn main_job_possible(findings: &[Finding]) -> bool {
    !findings.iter().any(Finding::blocks_main_job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_requirement_stops_the_main_job() {
        let run = Finding::ready("a", "A", Purpose::Run, "1.0");
        let optional = Finding::ready("b", "B", Purpose::Optional, "").but(State::Missing, "less");
        let slow = Finding::ready("c", "C", Purpose::Run, "").but(State::Degraded, "slower");
        assert!(main_job_possible(&[run.clone(), optional, slow]));
        assert!(!main_job_possible(&[run.but(State::Missing, "nothing runs")]));
    }

    #[test]
    fn findings_are_written_with_stable_words() {
        let finding = Finding::ready("x", "X", Purpose::Image, "not found")
            .but(State::Missing, "no image")
            .mended_by(Remedy::root_command(&["sysctl", "-w", "a=1"]));
        let json = serde_json::to_value(&finding).unwrap();
        assert_eq!(json["state"], "missing");
        assert_eq!(json["purpose"], "image");
        assert_eq!(json["required"], true);
        assert_eq!(json["remedy"]["command"]["argv"][2], "a=1");
        assert_eq!(json["remedy"]["command"]["needs_root"], true);
    }
}
