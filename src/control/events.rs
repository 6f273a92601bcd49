//! The last errors of the process.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::Serialize;

/// Most errors that are kept, and most bytes of them, as in nydusd.
const MAX_ERRORS: usize = 500;
const MAX_SIZE: usize = 50 << 10;

/// A ring of error messages.
#[derive(Debug, Default)]
pub struct Events(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    errors: VecDeque<String>,
    size: usize,
    total_errors: usize,
    total_size: usize,
}

/// What nydusd's API tells of the ring.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Snapshot {
    max_errors: usize,
    total_errors: usize,
    max_size: usize,
    total_size: usize,
    errors: Vec<String>,
}

impl Events {
    /// An empty ring.
    pub const fn new() -> Self {
        Self(Mutex::new(Ring {
            errors: VecDeque::new(),
            size: 0,
            total_errors: 0,
            total_size: 0,
        }))
    }

    /// Keeps a message; the oldest make room for it.
    pub fn push(&self, mut message: String) {
        let fits = message.floor_char_boundary(MAX_SIZE);
        message.truncate(fits);
        let mut ring = self.0.lock();
        ring.total_errors = ring.total_errors.saturating_add(1);
        ring.total_size = ring.total_size.saturating_add(message.len());
        ring.size += message.len();
        ring.errors.push_back(message);
        while ring.errors.len() > MAX_ERRORS || ring.size > MAX_SIZE {
            let gone = ring.errors.pop_front().unwrap_or_default();
            ring.size -= gone.len();
        }
    }

    /// What is in the ring, the oldest first.
    pub fn snapshot(&self) -> Snapshot {
        let ring = self.0.lock();
        Snapshot {
            max_errors: MAX_ERRORS,
            total_errors: ring.total_errors,
            max_size: MAX_SIZE,
            total_size: ring.total_size,
            errors: ring.errors.iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_last_errors_within_its_bounds() {
        let events = Events::new();
        for number in 0..2 * MAX_ERRORS {
            events.push(number.to_string());
        }
        let seen = events.snapshot();
        assert_eq!(seen.total_errors, 2 * MAX_ERRORS);
        assert_eq!(seen.errors.len(), MAX_ERRORS);
        assert_eq!(seen.errors.last().unwrap(), "999");
        events.push("ü".repeat(MAX_SIZE));
        let seen = events.snapshot();
        assert_eq!(seen.errors.len(), 1);
        assert!(seen.errors[0].len() <= MAX_SIZE);
    }
}
