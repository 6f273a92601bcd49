//! Whether something goes wrong with this request.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::dice::Dice;
use super::settings::{Fault, On, What};

/// The faults in force.
#[derive(Debug)]
pub(super) struct Faults(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    since: Instant,
    dice: Dice,
    /// Each fault with how many requests it could have met and how often it
    /// was done.
    faults: Vec<(Fault, u64, u64)>,
}

impl Faults {
    pub(super) fn new(faults: &[Fault], seed: u64) -> Self {
        Self(Mutex::new(Inner::new(faults, seed)))
    }

    /// Puts others in force; everything that was counted starts anew.
    pub(super) fn replace(&self, faults: &[Fault], seed: u64) {
        *self.0.lock() = Inner::new(faults, seed);
    }

    /// A fraction for other random things.
    pub(super) fn fraction(&self) -> f64 {
        self.0.lock().dice.fraction()
    }

    /// A number for other random things.
    pub(super) fn number(&self) -> u64 {
        self.0.lock().dice.next()
    }

    /// The first fault that is due.
    pub(super) fn pick(&self, on: On) -> Option<What> {
        let mut inner = self.0.lock();
        let age = inner.since.elapsed();
        let Inner { dice, faults, .. } = &mut *inner;
        for (fault, met, done) in faults.iter_mut().filter(|(fault, ..)| fault.on == on) {
            let from = Duration::from_millis(fault.after_ms.unwrap_or(0));
            let in_window = age >= from
                && fault
                    .for_ms
                    .is_none_or(|length| age < from + Duration::from_millis(length));
            if !in_window || fault.times.is_some_and(|times| *done >= times) {
                continue;
            }
            *met += 1;
            let due = fault.every.is_none_or(|n| met.is_multiple_of(n.max(1)))
                && fault.probability.is_none_or(|p| dice.fraction() < p);
            if due {
                *done += 1;
                return Some(fault.what.clone());
            }
        }
        None
    }
}

impl Inner {
    fn new(faults: &[Fault], seed: u64) -> Self {
        Self {
            since: Instant::now(),
            dice: Dice::new(seed),
            faults: faults.iter().map(|fault| (fault.clone(), 0, 0)).collect(),
        }
    }
}

/// The fault's `kind`, for counts and log.
pub(super) fn name(what: &What) -> &'static str {
    match what {
        What::Status { .. } => "status",
        What::Truncate => "truncate",
        What::Short => "short",
        What::Alter { .. } => "alter",
        What::Whole => "whole",
        What::WrongRange => "wrong_range",
        What::Chunked => "chunked",
        What::Reset => "reset",
        What::Close => "close",
        What::Hang => "hang",
        What::HangMidway => "hang_midway",
        What::Drip { .. } => "drip",
    }
}
