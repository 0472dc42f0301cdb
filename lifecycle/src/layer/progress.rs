//! Telling how far a long piece of work is.

use std::time::Duration;

use banger_protocol::event::{Events, Stage};

/// One long piece of work, as progress events name it.
pub(super) struct Progress<'a> {
    pub(super) events: &'a Events,
    /// What is being done, as a lower-case fragment.
    pub(super) what: &'a str,
    /// How much there is to do, where that is known.
    pub(super) total: Option<u64>,
}

impl Progress<'_> {
    /// Waits for `work`, and reports what `measure` finds done several times a second.
    pub(super) async fn watch<T>(
        &self,
        work: impl Future<Output = T>,
        measure: impl Fn() -> u64,
    ) -> T {
        tokio::pin!(work);
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = tick.tick() => {
                    let done = measure().min(self.total.unwrap_or(u64::MAX));
                    self.events.progress(Stage::Image, self.what, done, self.total);
                }
            }
        }
    }
}
