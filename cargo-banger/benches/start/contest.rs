//! Contenders that run in turn, so that what slows the host down slows all of them alike.

use crate::Result;
use crate::banger::Run;
use crate::report::Line;

/// Something that is measured over and over.
pub(crate) struct Contender<'a> {
    name: String,
    measure: Box<dyn FnMut() -> Result<Run> + 'a>,
    line: Line,
}

impl<'a> Contender<'a> {
    /// Names it.
    pub(crate) fn new(name: impl Into<String>, measure: impl FnMut() -> Result<Run> + 'a) -> Self {
        let name = name.into();
        Self { line: Line::new(&name), name, measure: Box::new(measure) }
    }

    fn run(&mut self, counts: bool) {
        if self.line.missing.is_some() {
            return;
        }
        match (self.measure)() {
            Ok(run) => {
                eprintln!("  {:<50} {:>9.1} ms", self.name, run.wall);
                if counts {
                    self.line.add(&run);
                }
            }
            Err(error) => self.line.missing = Some(error.to_string()),
        }
    }
}

/// Runs each contender once without counting, then `rounds` times, another one first each round.
pub(crate) fn hold(mut contenders: Vec<Contender<'_>>, rounds: u32) -> Vec<Line> {
    eprintln!("warming up");
    contenders.iter_mut().for_each(|contender| contender.run(false));
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        let turn = usize::from(round > 0 && contenders.len() > 1);
        contenders.rotate_left(turn);
        contenders.iter_mut().for_each(|contender| contender.run(true));
    }
    let turned = (rounds.max(1) - 1) as usize % contenders.len().max(1);
    contenders.rotate_right(turned);
    let mut lines: Vec<Line> = contenders.into_iter().map(|contender| contender.line).collect();
    compare(&mut lines);
    lines
}

/// Compares every line with the first.
pub(crate) fn compare(lines: &mut [Line]) {
    if let Some(first) = lines.first().cloned() {
        lines.iter_mut().for_each(|line| line.compare(&first));
    }
}
