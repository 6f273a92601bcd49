//! Keeps what a guest, an image or a source can provoke from filling a log.

use std::sync::atomic::{AtomicU64, Ordering};

/// Events that are always logged.
const FIRST: u64 = 16;

/// Counts events of one kind; the first few are logged, then only each whose
/// number is a power of two.
#[derive(Debug, Default)]
pub struct LogLimit(AtomicU64);

impl LogLimit {
    /// A limit that has seen nothing.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts an event; its number, from 1, if it should be logged.
    pub fn count(&self) -> Option<u64> {
        let number = self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        (number <= FIRST || number.is_power_of_two()).then_some(number)
    }

    /// Events so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_events_make_few_lines() {
        let limit = LogLimit::new();
        let lines = (0..1_000_000).filter(|_| limit.count().is_some()).count();
        assert!((16..40).contains(&lines), "{lines}");
        assert_eq!(limit.total(), 1_000_000);
    }
}
