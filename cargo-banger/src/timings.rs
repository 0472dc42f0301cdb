//! Where a run's time went.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use banger_lifecycle::event::Stage;

/// Stages and their times, as they end.
#[derive(Debug)]
pub(crate) struct Timings {
    started: Instant,
    stages: Vec<(Stage, Duration)>,
    means: Vec<(Stage, String)>,
}

impl Timings {
    /// Counts from now.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), stages: Vec::new(), means: Vec::new() }
    }

    /// Adds a stage's time.
    pub(crate) fn add(&mut self, stage: Stage, took: Duration) {
        self.stages.push((stage, took));
    }

    /// Adds by what means a stage does its work.
    pub(crate) fn by(&mut self, stage: Stage, means: String) {
        self.means.push((stage, means));
    }

    fn means_of(&self, stage: Stage) -> Option<&str> {
        let (_, means) = self.means.iter().rfind(|(this, _)| *this == stage)?;
        Some(means)
    }

    fn of(&self, stage: Stage) -> Option<Duration> {
        let mut found = self.stages.iter().filter(|(this, _)| *this == stage).peekable();
        found.peek()?;
        Some(found.map(|(_, took)| *took).sum())
    }

    /// A table, a line a stage, in ms.
    pub(crate) fn table(&self) -> String {
        let total = self.started.elapsed();
        let share = |took: Duration| 100.0 * took.as_secs_f64() / total.as_secs_f64();
        let mut text = String::new();
        for (stage, took) in Stage::ALL.iter().filter_map(|s| Some((s, self.of(*s)?))) {
            let _ = write!(text, "{stage:>10} {:>9.1} ms {:>4.0} %", ms(took), share(took));
            let means = self.means_of(*stage).map(|means| format!("  {means}"));
            let _ = writeln!(text, "{}", means.unwrap_or_default());
        }
        let _ = writeln!(text, "{:>10} {:>9.1} ms", "total", ms(total));
        text
    }

    /// The same as one JSON object, in ms.
    pub(crate) fn json(&self) -> serde_json::Value {
        let stages: serde_json::Map<_, _> = Stage::ALL
            .iter()
            .filter_map(|stage| Some((stage.to_string(), round(self.of(*stage)?).into())))
            .collect();
        let means: serde_json::Map<_, _> = self
            .means
            .iter()
            .map(|(stage, means)| (stage.to_string(), means.clone().into()))
            .collect();
        let total = round(self.started.elapsed());
        serde_json::json!({ "unit": "ms", "stages": stages, "means": means, "total": total })
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

fn round(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_appear_in_order_once_with_their_sum() {
        let mut timings = Timings::start();
        timings.add(Stage::Command, Duration::from_millis(5));
        timings.add(Stage::Boot, Duration::from_millis(10));
        timings.add(Stage::Command, Duration::from_millis(7));
        let table = timings.table();
        assert!(table.find("boot").unwrap() < table.find("command").unwrap());
        assert_eq!(timings.json()["stages"]["command"], 12.0);
    }
}
