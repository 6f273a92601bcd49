//! Keeps background downloads within a bandwidth.

use std::time::{Duration, Instant};

/// For how long a bucket may save up: short enough to be even, long enough
/// for requests of some size.
const SAVING: Duration = Duration::from_millis(250);

/// A token bucket of bytes. It may be overdrawn by one request, which the next
/// ones wait for.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes per second.
    rate: f64,
    /// Bytes that may be asked for; less than 0 after a large request.
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// A full bucket for `rate` bytes per second.
    pub(super) fn new(rate: u64, now: Instant) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let rate = (rate.max(1)) as f64;
        Self {
            rate,
            tokens: rate * SAVING.as_secs_f64(),
            at: now,
        }
    }

    /// None if something may be asked for now, else when the bucket is full
    /// again: then several chunks can go at once.
    pub(super) fn closed_until(&mut self, now: Instant) -> Option<Instant> {
        let full = self.rate * SAVING.as_secs_f64();
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + earned).min(full);
        self.at = now;
        if self.tokens > 0.0 {
            return None;
        }
        // A debt of years is none that anybody would wait for.
        let wait = ((full - self.tokens) / self.rate).min(86_400.0);
        Some(now + Duration::from_secs_f64(wait))
    }

    /// Takes `bytes` out of the bucket.
    pub(super) fn take(&mut self, bytes: u64) {
        #[allow(clippy::cast_precision_loss)]
        let bytes = bytes as f64;
        self.tokens -= bytes;
    }

    /// Puts back what was taken and not used.
    pub(super) fn give_back(&mut self, bytes: u64) {
        #[allow(clippy::cast_precision_loss)]
        let bytes = bytes as f64;
        self.tokens += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for chunks of `len` bytes for `seconds`; how many bytes went.
    fn run(rate: u64, len: u64, seconds: u64) -> u64 {
        let start = Instant::now();
        let (mut now, mut total) = (start, 0);
        let mut pace = Pace::new(rate, start);
        while now < start + Duration::from_secs(seconds) {
            match pace.closed_until(now) {
                Some(later) => now = later,
                None => {
                    pace.take(len);
                    total += len;
                }
            }
        }
        total
    }

    #[test]
    fn the_rate_is_held_for_small_and_large_chunks() {
        for (rate, len) in [(1_000_000, 4096), (1_000_000, 1 << 20), (50_000, 16 << 20)] {
            let seconds = 1000;
            let got = run(rate, len, seconds);
            let most = rate * seconds + rate / 4 + len;
            let least = (rate * seconds).saturating_sub(rate / 2 + len);
            assert!((least..=most).contains(&got), "{rate} {len}: {got}");
        }
    }

    #[test]
    fn several_small_chunks_go_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000_000, start);
        while pace.closed_until(start).is_none() {
            pace.take(4096);
        }
        let later = pace.closed_until(start).unwrap();
        let mut at_once = 0;
        while pace.closed_until(later).is_none() {
            pace.take(4096);
            at_once += 1;
        }
        assert!(at_once > 50, "{at_once}");
    }

    #[test]
    fn what_was_not_fetched_is_given_back() {
        let start = Instant::now();
        let mut pace = Pace::new(1000, start);
        pace.take(1 << 30);
        assert!(pace.closed_until(start).is_some());
        pace.give_back(1 << 30);
        assert!(pace.closed_until(start).is_none());
    }
}
