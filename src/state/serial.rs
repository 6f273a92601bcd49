//! Numbers that are each given once, also by the daemons after this one.

use super::slots::{Saved, Slots};

/// Gives numbers in turn. Those of a table are written down as used before they are,
/// many at a time, so that a daemon that comes after a crash begins behind them,
/// whatever else could not be written.
#[derive(Debug, Default)]
pub struct Serial {
    last: u64,
    reserved: u64,
}

impl Serial {
    /// Gives the numbers behind `last`.
    pub fn behind(last: u64) -> Self {
        Self { last, reserved: 0 }
    }

    /// Gives the numbers behind `last` and behind all that a daemon before this one
    /// may have given, and reserves the first of them.
    pub fn again(last: u64, saved: &Saved, kept: &Slots, step: u64) -> Self {
        let mut serial = Self {
            last: last.max(saved.reserved),
            reserved: saved.reserved,
        };
        serial.reserve(kept, step);
        serial
    }

    /// The next number; where a table is `kept`, `step` of them are reserved there at
    /// once. None when all were given, or when no more can be reserved: half a step
    /// before, that is tried with each.
    pub fn next(&mut self, kept: Option<&Slots>, step: u64) -> Option<u64> {
        let number = self.last.checked_add(1)?;
        if let Some(kept) = kept {
            if number.saturating_add(step / 2) > self.reserved {
                self.reserve(kept, step);
            }
            if number > self.reserved {
                return None;
            }
        }
        self.last = number;
        Some(number)
    }

    fn reserve(&mut self, kept: &Slots, step: u64) {
        let ahead = self.last.saturating_add(step);
        if kept.reserve(ahead) {
            self.reserved = ahead;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const STEP: u64 = 10;

    fn open(path: &Path) -> (Slots, Serial) {
        let (slots, saved) = Slots::open(path, 32).unwrap();
        let serial = Serial::again(0, &saved, &slots, STEP);
        (slots, serial)
    }

    #[test]
    fn no_number_is_given_by_two_daemons() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("table");
        let mut last = 0;
        for given in [1, 4, 5, 6, 9, 10, 11, 25, 0, 1] {
            let (slots, mut serial) = open(&path);
            for _ in 0..given {
                let next = serial.next(Some(&slots), STEP).unwrap();
                assert!(next > last, "{next} after {last}");
                last = next;
            }
        }
    }

    #[test]
    fn what_cannot_be_reserved_is_not_given() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("table");
        let (mut slots, mut serial) = open(&path);
        assert_eq!(serial.next(Some(&slots), STEP), Some(1));
        slots.writes(&path, false);
        let given: Vec<_> = std::iter::from_fn(|| serial.next(Some(&slots), STEP)).collect();
        assert_eq!(given, (2..=10).collect::<Vec<_>>());
        slots.writes(&path, true);
        assert_eq!(serial.next(Some(&slots), STEP), Some(11));
        drop(slots);
        let (slots, mut serial) = open(&path);
        assert!(serial.next(Some(&slots), STEP).unwrap() > 11);
    }
}
