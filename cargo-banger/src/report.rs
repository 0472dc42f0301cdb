//! Events to lines and progress bars on standard error. Standard output is the command's.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use banger_lifecycle::event::{Event, Events};
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
        tell!("{RED}error{RED:#}: {}", error.message);
        for cause in &error.causes {
            tell!("  caused by: {}", cause.replace('\n', "\n    "));
        }
        if let Some(console) = &error.console {
            tell!("the guest's console ended with:");
            console.lines().for_each(|line| tell!("  | {line}"));
        }
        if let Some(hint) = &error.hint {
            tell!("{CYAN}hint{CYAN:#}: {hint}");
        }
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
                tell!("{BOLD}banger{BOLD:#}: {text}");
            }
            Event::Warning { text, hint } if self.verbosity >= Verbosity::Normal => {
                finish_bar(&mut state);
                tell!("{YELLOW}warning{YELLOW:#}: {text}");
                if let Some(hint) = hint {
                    tell!("{CYAN}hint{CYAN:#}: {hint}");
                }
            }
            Event::Detail { text } if self.verbosity >= Verbosity::Verbose => {
                tell!("{BOLD}banger{BOLD:#}: {text}");
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
                tell!("banger: {what}");
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
        bar.set_message(what);
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
