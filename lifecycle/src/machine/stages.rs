//! Telling when a stage begins and ends.

use std::time::Instant;

use crate::event::{Event, Events, Stage};

/// A stage under way. Dropping it tells its end.
#[must_use = "the stage ends when this is dropped"]
pub(crate) struct Running<'a> {
    events: &'a Events,
    stage: Stage,
    since: Instant,
}

/// Tells that a stage begins.
pub(crate) fn start(events: &Events, stage: Stage) -> Running<'_> {
    events.send(Event::Started { stage });
    Running { events, stage, since: Instant::now() }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.events.send(Event::Finished { stage: self.stage, took: self.since.elapsed() });
    }
}
