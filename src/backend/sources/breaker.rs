//! Whether a source is asked at all: a circuit breaker.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Policy;

/// What one lie weighs against answers that began well: a source that is wrong
/// more often than this is left out in the end.
const LIE: u32 = 8;

/// Longest time out, in times of the first.
const LONGEST: u32 = 16;

/// The health of one source.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Failures in a row.
    failures: u32,
    lies: u32,
    /// When it may be tried again, while it is left out.
    until: Option<Instant>,
    /// Failed trials in a row.
    trials: u32,
}

impl Breaker {
    /// None: the source may be asked; when its time out is over, by one trial.
    /// Otherwise the rest of its time out.
    pub(super) fn rests(&self, policy: &Policy) -> Option<Duration> {
        let mut state = self.state.lock();
        let until = state.until?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Others wait until the trial is over.
            state.until = Some(Instant::now() + policy.cool_down);
            return None;
        }
        Some(left)
    }

    /// Whether the source is left out. Starts no trial.
    pub(super) fn is_open(&self) -> bool {
        self.state.lock().until.is_some()
    }

    /// Notes that the source agreed to deliver.
    pub(super) fn worked(&self) {
        let mut state = self.state.lock();
        state.failures = 0;
        state.trials = 0;
        state.until = None;
        state.lies = state.lies.saturating_sub(1);
    }

    /// Notes a failure.
    pub(super) fn failed(&self, policy: &Policy) {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= policy.failures {
            state.leave_out(policy);
        }
    }

    /// Notes bytes that failed their proof.
    pub(super) fn lied(&self, policy: &Policy) {
        let mut state = self.state.lock();
        state.lies = state.lies.saturating_add(LIE);
        if state.lies >= LIE.saturating_mul(policy.failures) {
            state.lies = 0;
            state.leave_out(policy);
        }
    }
}

impl State {
    fn leave_out(&mut self, policy: &Policy) {
        let times = 1 << self.trials.min(LONGEST.ilog2());
        self.trials = self.trials.saturating_add(1);
        // At random, so that the daemons of a fleet do not come back at once.
        let jitter = f64::from(fastrand::u16(..)) / f64::from(u16::MAX);
        let out = (policy.cool_down * times).mul_f64(1.0 + jitter);
        self.until = Some(Instant::now() + out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            failures: 3,
            cool_down: Duration::from_secs(1),
            ..Policy::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_fails_in_a_row_is_left_out_and_tried_again_by_one() {
        let (breaker, policy) = (Breaker::default(), policy());
        for _ in 0..2 {
            breaker.failed(&policy);
            assert_eq!(breaker.rests(&policy), None);
        }
        breaker.failed(&policy);
        let left = breaker.rests(&policy).unwrap();
        assert!(left > Duration::from_millis(900) && left <= Duration::from_secs(2));
        tokio::time::advance(left).await;
        assert_eq!(breaker.rests(&policy), None, "the trial");
        assert!(breaker.rests(&policy).is_some(), "others wait for it");
        breaker.failed(&policy);
        assert!(
            breaker.rests(&policy) > Some(Duration::from_secs(1)),
            "longer now"
        );
        breaker.worked();
        assert_eq!(breaker.rests(&policy), None);
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_are_not_in_a_row_do_no_harm() {
        let (breaker, policy) = (Breaker::default(), policy());
        for _ in 0..20 {
            breaker.failed(&policy);
            breaker.failed(&policy);
            breaker.worked();
        }
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_lies_often_is_left_out_though_its_answers_begin_well() {
        let (breaker, policy) = (Breaker::default(), policy());
        for _ in 0..20 {
            (0..20).for_each(|_| breaker.worked());
            breaker.lied(&policy);
        }
        assert!(!breaker.is_open(), "one in twenty");
        for _ in 0..20 {
            (0..2).for_each(|_| breaker.worked());
            breaker.lied(&policy);
            if breaker.is_open() {
                return;
            }
        }
        panic!("one in three must be noticed");
    }
}
