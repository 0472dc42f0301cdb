//! How long a user waits for each part of a run, and how long at worst: percentiles, in the VMM that
//! `BANGER_VMM` names.

use serde_json::{Value, json};

use crate::Result;
use crate::banger::{Banger, Run};
use crate::options::Options;
use crate::samples::Samples;
use crate::tree;

/// The percentiles that are told.
const PERCENTILES: [u32; 3] = [50, 90, 99];

/// What is told of cold boots and of clones, each by the stages that it is made of.
const COLD: [(&str, &[&str]); 1] = [("cold boot, to the login", &["boot", "connect"])];
const CLONE: [(&str, &[&str]); 4] = [
    ("clone, from restore to the end of the first command", &["boot", "connect", "command"]),
    ("sync of an unchanged workspace", &["sync"]),
    ("teardown", &["teardown"]),
    ("all of a run", &[]),
];

/// The table.
#[derive(Debug)]
pub(crate) struct Latencies {
    vmm: String,
    lines: Vec<(&'static str, Samples)>,
}

impl Latencies {
    /// Runs `true` so many times in a clone, with a small workspace, and a fifth of that cold.
    pub(crate) fn measure(banger: &Banger, options: &Options) -> Result<Self> {
        let workspace = tree::crate_in(banger.home(), "bench-latency")?;
        let mut lines = Vec::new();
        let mut series = |runs: u32, flags: &[&str], told: &[(&'static str, &[&str])]| {
            let warm = banger.measure(&workspace, flags)?;
            let mut samples = vec![Samples::default(); told.len()];
            for number in 1..=runs {
                let run = banger.measure(&workspace, flags)?;
                eprintln!("  {number} of {runs}: {:>9.1} ms", run.wall);
                for ((_, stages), samples) in told.iter().zip(&mut samples) {
                    samples.push(took(&run, stages));
                }
            }
            lines.extend(told.iter().map(|(name, _)| *name).zip(samples));
            Ok::<_, Box<dyn std::error::Error>>(warm)
        };
        let warm = series(options.runs.div_ceil(5), &["--cold"], &COLD)?;
        series(options.runs, &[], &CLONE)?;
        Ok(Self { vmm: warm.means, lines })
    }

    /// Prints it as text.
    pub(crate) fn print(&self) {
        println!("\nlatency of `cargo banger run -- true`: {}", self.vmm);
        print!("{:<52} {:>4}", "", "n");
        PERCENTILES.iter().for_each(|percent| print!(" {:>9}", format!("p{percent}")));
        println!();
        for (name, samples) in &self.lines {
            print!("{name:<52} {:>4}", samples.len());
            PERCENTILES.iter().for_each(|percent| print!(" {:>9.1}", samples.percentile(*percent)));
            println!();
        }
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let line = |(name, samples): &(&str, Samples)| {
            let [p50, p90, p99] = PERCENTILES.map(|percent| samples.percentile(percent));
            json!({ "name": name, "runs": samples.len(), "p50": p50, "p90": p90, "p99": p99 })
        };
        let lines: Vec<_> = self.lines.iter().map(line).collect();
        json!({ "title": format!("latency: {}", self.vmm), "unit": "ms", "rows": lines })
    }
}

/// How long some stages of a run took, or all of it, in ms.
fn took(run: &Run, stages: &[&str]) -> f64 {
    if stages.is_empty() {
        return run.wall;
    }
    stages.iter().filter_map(|stage| run.stage(stage)).sum()
}
