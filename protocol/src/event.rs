//! What happened to a VM, stage by stage. The library emits these; the command line renders them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One stage of a run, in the order in which a run passes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Reading settings and workspace, and clearing what dead runs left.
    Check,
    /// Finding or building the image and the layers.
    Image,
    /// Finding the template to start from, or making it.
    Template,
    /// Making the private writable disks.
    Overlay,
    /// From starting the VMM to the guest's word that it is ready.
    Boot,
    /// Giving the guest its identity and disks, and logging in where files are to be sent or a terminal
    /// is waiting.
    Connect,
    /// Sending what changed in the workspace and putting it in place.
    Sync,
    /// The user's command.
    Command,
    /// Bringing files back.
    Fetch,
    /// Stopping the VM and removing all that was its own.
    Teardown,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 10] = [
        Self::Check,
        Self::Image,
        Self::Template,
        Self::Overlay,
        Self::Boot,
        Self::Connect,
        Self::Sync,
        Self::Command,
        Self::Fetch,
        Self::Teardown,
    ];

    /// The stage's name as `--timings` prints it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Image => "image",
            Self::Template => "template",
            Self::Overlay => "overlay",
            Self::Boot => "boot",
            Self::Connect => "connect",
            Self::Sync => "sync",
            Self::Command => "command",
            Self::Fetch => "fetch",
            Self::Teardown => "teardown",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A stage began.
    Started {
        /// Which one.
        stage: Stage,
    },
    /// By what means a stage does its work, where there is a choice.
    Means {
        /// Which one.
        stage: Stage,
        /// As a word or two: "dm-snapshot".
        means: String,
    },
    /// A stage ended, well or not.
    Finished {
        /// Which one.
        stage: Stage,
        /// How long it took.
        took: Duration,
    },
    /// A long piece of work goes on: building an image or a layer, sending files.
    Progress {
        /// The stage it belongs to.
        stage: Stage,
        /// What is being done, as a lower-case fragment: "building image (first use)".
        what: String,
        /// How much is done.
        done: u64,
        /// Out of how much, where that is known.
        total: Option<u64>,
    },
    /// A fact worth one line, at the usual level: "booting with TCG: this host's KVM …".
    Note {
        /// The line, without a full stop.
        text: String,
    },
    /// Something is not as it should be, and the run goes on.
    Warning {
        /// The line, without a full stop.
        text: String,
        /// What mends it.
        hint: Option<String>,
    },
    /// A detail for `-v`.
    Detail {
        /// The line, without a full stop.
        text: String,
    },
}

/// Where events go. Cheap to clone; safe to call from any thread.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    /// Sends every event to `sink`.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Drops every event.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Sends one event.
    pub fn send(&self, event: Event) {
        (self.0)(event);
    }

    /// Sends an [`Event::Note`].
    pub fn note(&self, text: impl Into<String>) {
        self.send(Event::Note { text: text.into() });
    }

    /// Sends an [`Event::Means`].
    pub fn means(&self, stage: Stage, means: impl Into<String>) {
        self.send(Event::Means { stage, means: means.into() });
    }

    /// Sends an [`Event::Detail`].
    pub fn detail(&self, text: impl Into<String>) {
        self.send(Event::Detail { text: text.into() });
    }

    /// Sends an [`Event::Warning`].
    pub fn warning(&self, text: impl Into<String>, hint: Option<&str>) {
        self.send(Event::Warning { text: text.into(), hint: hint.map(str::to_owned) });
    }

    /// Sends an [`Event::Progress`].
    pub fn progress(&self, stage: Stage, what: impl Into<String>, done: u64, total: Option<u64>) {
        self.send(Event::Progress { stage, what: what.into(), done, total });
    }
}
