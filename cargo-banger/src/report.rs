//! Events to lines and progress bars on standard error. Standard output is the command's.
//!
//! Any text may be a guest's: what is printed here is [shown] as what it is.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use banger_lifecycle::event::{Event, Events};
use banger_protocol::text::shown;
use indicatif::{ProgressBar, ProgressStyle};

use crate::error::CommandError;
use crate::timings::Timings;

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// Notes, warnings and progress.
    Normal,
    /// Details too.
    Verbose,
}

/// What a reporter remembers between events.
struct State {
    bar: Option<ProgressBar>,
    /// The last step told as a plain line.
    told: Option<String>,
    /// The notes so far.
    noted: BTreeSet<String>,
    timings: Timings,
}

/// Renders events.
#[derive(Clone)]
pub(crate) struct Reporter {
    state: Arc<Mutex<State>>,
    verbosity: Verbosity,
    interactive: bool,
}

impl Reporter {
    pub(crate) fn new(verbosity: Verbosity) -> Self {
        let state =
            State { bar: None, told: None, noted: BTreeSet::new(), timings: Timings::start() };
        let interactive = std::io::stderr().is_terminal();
        Self { state: Arc::new(Mutex::new(state)), verbosity, interactive }
    }

    /// Where the lifecycle sends its events.
    pub(crate) fn events(&self) -> Events {
        let this = self.clone();
        Events::new(move |event| this.render(event))
    }

    /// Runs `f` on the times so far.
    pub(crate) fn with_timings<T>(&self, f: impl FnOnce(&Timings) -> T) -> T {
        f(&self.lock().timings)
    }

    /// Removes a progress bar, so that the command's output starts on a line of its own.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.lock().bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Prints an error with its causes, console and hint.
    pub(crate) fn error(&self, error: &CommandError) {
        self.clear();
        tell!("{}", in_colour(error));
    }

    fn render(&self, event: Event) {
        let mut state = self.lock();
        match event {
            Event::Finished { stage, took } => {
                state.timings.add(stage, took);
                finish_bar(&mut state);
                if self.verbosity >= Verbosity::Verbose {
                    tell!("{BOLD}{stage:>10}{BOLD:#} {:.3} s", took.as_secs_f64());
                }
            }
            Event::Means { stage, means } => state.timings.by(stage, means),
            Event::Progress { what, done, total, .. } => {
                self.progress(&mut state, what, done, total)
            }
            // One process may start many VMs, of which the same is to be said.
            Event::Note { text }
                if self.verbosity >= Verbosity::Normal && state.noted.insert(text.clone()) =>
            {
                finish_bar(&mut state);
                tell!("{BOLD}banger{BOLD:#}: {}", shown(&text));
            }
            Event::Warning { text, hint } if self.verbosity >= Verbosity::Normal => {
                finish_bar(&mut state);
                tell!("{YELLOW}warning{YELLOW:#}: {}", shown(&text));
                if let Some(hint) = hint {
                    tell!("{CYAN}hint{CYAN:#}: {}", shown(&hint));
                }
            }
            Event::Detail { text } if self.verbosity >= Verbosity::Verbose => {
                tell!("{BOLD}banger{BOLD:#}: {}", shown(&text));
            }
            _ => {}
        }
    }

    /// A bar on a terminal; elsewhere one line for each new step.
    fn progress(&self, state: &mut State, what: String, done: u64, total: Option<u64>) {
        if self.verbosity < Verbosity::Normal {
            return;
        }
        if !self.interactive {
            if state.told.as_ref() != Some(&what) {
                tell!("banger: {}", shown(&what));
                state.told = Some(what);
            }
            return;
        }
        let bar = state.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if let Some(total) = total {
            let template = "{spinner} {msg} [{bar:24}] {percent}% {elapsed}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_length(total);
            bar.set_position(done);
        }
        bar.set_message(shown(&what).into_owned());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn finish_bar(state: &mut State) {
    if let Some(bar) = state.bar.take() {
        bar.finish_and_clear();
    }
}

/// An error with its causes, console and hint, over several lines.
fn in_colour(error: &CommandError) -> String {
    let CommandError { message, causes, hint, console, code: _ } = error;
    let mut lines = vec![format!("{RED}error{RED:#}: {}", shown(message))];
    lines.extend(
        causes.iter().map(|it| format!("  caused by: {}", shown(it).replace('\n', "\n    "))),
    );
    if let Some(console) = console {
        lines.push("the guest's console ended with:".to_owned());
        lines.extend(console.lines().map(|line| format!("  | {}", shown(line))));
    }
    lines.extend(hint.iter().map(|hint| format!("{CYAN}hint{CYAN:#}: {}", shown(hint))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use banger_lifecycle::error::Cause;
    use banger_lifecycle::event::Stage;
    use banger_lifecycle::vmm::VmmError;

    use super::*;

    #[test]
    fn whatever_a_guest_says_steers_no_terminal() {
        let evil = "\x1b[2J\u{9b}31m\x7f\u{202e}";
        let reason = format!("{evil}{}", "A".repeat(1 << 20));
        let cause = Cause::Vmm(VmmError::GaveUp(reason));
        let mut error = cause.during(Stage::Boot);
        error.console = Some(format!("[ 0.1] hello\r\n{evil}"));
        let path = std::io::Error::other(format!("`/tmp/{evil}`"));
        let error = CommandError::from(error).caused_by(&path).hint(evil.to_owned());
        let seen = r"\x1b[2J\u{9b}31m\x7f\u{202e}";
        for text in [anstream::adapter::strip_str(&in_colour(&error)).to_string(), error.in_full()]
        {
            let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!text.contains(steers), "{text:?}");
            for part in
                [&format!("gave up: {seen}"), &format!("`/tmp/{seen}`"), &format!("| {seen}")]
            {
                assert!(text.contains(part), "no {part} in {text}");
            }
            assert!(text.contains(&format!("hint: {seen}")) && text.len() < 12 << 10, "{text}");
        }
    }
}
