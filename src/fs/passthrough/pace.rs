//! Whether writing waits for the disk at present.
//!
//! Most file systems cannot promise a write into the page cache that does not wait,
//! and usually it does not; but a kernel with much to write back slows writers
//! down. One write that is slow sends those after it to threads that may wait,
//! until there was none for a while.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a write takes that had to wait.
const SLOW: Duration = Duration::from_millis(3);

/// How long after the last of them writes are still expected to wait.
const MEMORY: Duration = Duration::from_secs(1);

/// How long writes took lately.
pub(super) struct Pace {
    start: Instant,
    /// Until when writes are expected to wait, in milliseconds after `start`.
    slow_until: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            slow_until: AtomicU64::new(0),
        }
    }
}

impl Pace {
    /// Whether a write that begins now is expected to wait.
    pub(super) fn is_slow(&self, now: Instant) -> bool {
        self.slow_until.load(Ordering::Relaxed) > self.milliseconds(now)
    }

    /// Notes a write that ended now.
    pub(super) fn note(&self, began: Instant, now: Instant) {
        if now.saturating_duration_since(began) >= SLOW {
            let until = self.milliseconds(now + MEMORY);
            self.slow_until.fetch_max(until, Ordering::Relaxed);
        }
    }

    fn milliseconds(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_write_is_remembered_for_a_while() {
        let pace = Pace::default();
        let now = Instant::now() + Duration::from_secs(100);
        assert!(!pace.is_slow(now));
        pace.note(now, now + SLOW / 2);
        assert!(!pace.is_slow(now));
        pace.note(now, now + SLOW);
        assert!(pace.is_slow(now + MEMORY));
        assert!(!pace.is_slow(now + MEMORY + SLOW));
        // A quick one that ended earlier changes nothing.
        pace.note(now, now);
        assert!(pace.is_slow(now + MEMORY));
    }
}
