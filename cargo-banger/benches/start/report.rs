//! What was measured, as tables or as JSON.

use serde_json::{Value, json};

use crate::banger::Run;
use crate::samples::Samples;

/// One row of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    name: String,
    /// The times.
    pub(crate) wall: Samples,
    /// What kept the processors busy; empty where that is not known.
    busy: Samples,
    /// The times over those of the table's first line, in the same round.
    ratio: Samples,
    /// The same of the processors' time.
    busy_ratio: Samples,
    /// Where each run's time went, by stage.
    pub(crate) stages: Vec<(String, Samples)>,
    /// Why there is nothing to tell.
    pub(crate) missing: Option<String>,
}

impl Line {
    /// An empty one.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// One that says why it is empty.
    pub(crate) fn missing(name: &str, reason: impl ToString) -> Self {
        Self { missing: Some(reason.to_string()), ..Self::new(name) }
    }

    /// Compares it with another line of as many rounds.
    pub(crate) fn compare(&mut self, with: &Self) {
        self.ratio = self.wall.over(&with.wall);
        self.busy_ratio = self.busy.over(&with.busy);
    }

    /// Adds a run with its stages.
    pub(crate) fn add(&mut self, run: &Run) {
        self.wall.push(run.wall);
        if run.busy > 0.0 {
            self.busy.push(run.busy);
        }
        let rest = run.wall - run.stages.iter().map(|(_, took)| took).sum::<f64>();
        let rest = (!run.stages.is_empty()).then(|| ("rest".to_owned(), rest));
        for (stage, took) in run.stages.iter().cloned().chain(rest) {
            match self.stages.iter_mut().find(|(this, _)| *this == stage) {
                Some((_, samples)) => samples.push(took),
                None => {
                    let mut samples = Samples::default();
                    samples.push(took);
                    self.stages.push((stage, samples));
                }
            }
        }
    }
}

/// One table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// What it shows.
    pub(crate) title: String,
    /// Its rows.
    pub(crate) lines: Vec<Line>,
    /// Remarks below it.
    pub(crate) notes: Vec<String>,
}

impl Table {
    /// Prints it as text.
    pub(crate) fn print(&self) {
        println!("\n{}", self.title);
        println!(
            "{:<50} {:>3} {:>9} {:>9} {:>9} {:>6} {:>9} {:>6}",
            "", "n", "median", "min", "max", "ratio", "cpu", "ratio"
        );
        for line in &self.lines {
            let Line { name, wall, .. } = line;
            if let Some(reason) = &line.missing {
                println!("{name:<50} {}", reason.lines().next().unwrap_or_default());
                continue;
            }
            let (n, median, min, max) = (wall.len(), wall.median(), wall.min(), wall.max());
            let (ratio, busy) = (shown(&line.ratio, 2), shown(&line.busy, 0));
            let busy_ratio = shown(&line.busy_ratio, 2);
            println!(
                "{name:<50} {n:>3} {median:>9.1} {min:>9.1} {max:>9.1} {ratio:>6} {busy:>9} {busy_ratio:>6}"
            );
        }
        for line in self.lines.iter().filter(|line| !line.stages.is_empty()) {
            let stages = line.stages.iter();
            let stages = stages.map(|(stage, took)| format!("{stage} {:.1}", took.median()));
            println!("  of {}:\n    {}", line.name, stages.collect::<Vec<_>>().join(" · "));
        }
        self.notes.iter().for_each(|note| println!("  {note}"));
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let lines: Vec<Value> = self.lines.iter().map(line_json).collect();
        json!({ "title": self.title, "unit": "ms", "rows": lines, "notes": self.notes })
    }
}

/// How one line compares with another, round by round, if both are there.
pub(crate) fn ratio(lines: &[Line], one: &str, other: &str) -> Option<String> {
    let find = |name: &str| lines.iter().find(|line| line.name == name && line.wall.len() > 0);
    let ratio = find(one)?.wall.over(&find(other)?.wall);
    Some(format!("{:.2} times: {one} / {other}", ratio.median()))
}

/// The median; nothing where nothing was measured.
fn shown(samples: &Samples, decimals: usize) -> String {
    if samples.len() == 0 { String::new() } else { format!("{:.decimals$}", samples.median()) }
}

fn line_json(line: &Line) -> Value {
    let Line { name, wall, busy, ratio, busy_ratio, stages, missing } = line;
    if let Some(reason) = missing {
        return json!({ "name": name, "missing": reason });
    }
    let medians: serde_json::Map<_, _> =
        stages.iter().map(|(stage, took)| (stage.clone(), took.median().into())).collect();
    json!({
        "name": name,
        "runs": wall.len(),
        "median": wall.median(),
        "min": wall.min(),
        "max": wall.max(),
        "ratio": ratio.median(),
        "cpu": busy.median(),
        "cpu_ratio": busy_ratio.median(),
        "stages": medians,
    })
}
