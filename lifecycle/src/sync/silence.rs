//! When a guest that owes us something has been silent for too long.

use std::time::Duration;

/// How long a guest may be silent, in seconds.
pub(crate) const QUIET: u32 = 30;

/// Resolves once somebody has waited for [`QUIET`] seconds in which the count stood still. The
/// count is of bytes that the guest took or gave; `None` while nobody waits for it.
///
/// Seconds are counted one by one: where this process or the whole host stands still, as when a job
/// is stopped, no time passes for the guest.
pub(crate) async fn of(count: impl Fn() -> Option<u64>) {
    let mut last = None;
    let mut quiet = 0;
    while quiet < QUIET {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = count();
        quiet = if now.is_some() && now == last { quiet + 1 } else { 0 };
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_byte() {
        let began = Instant::now();
        of(|| Some(7)).await;
        assert_eq!(began.elapsed().as_secs(), u64::from(QUIET) + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drip_is_no_silence_and_nobody_waiting_is_none() {
        let counts = AtomicU64::new(0);
        let drip = || Some(counts.fetch_add(1, Ordering::Relaxed) / 20);
        let limit = Duration::from_secs(3600);
        assert!(tokio::time::timeout(limit, of(drip)).await.is_err());
        assert!(tokio::time::timeout(limit, of(|| None)).await.is_err());
    }
}
