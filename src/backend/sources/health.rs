//! How a source fares: whether it is worth asking now.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

use super::Policy;

/// Longest time that a source is left alone because it asked for it.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// By how much the pause of a source that stays broken grows.
const GROWTH: u32 = 16;

/// What a lie weighs, in failures: the body that held it counted as a success.
const LIE: u32 = 2;

/// A circuit breaker: after enough failures a source is left out, and one small
/// request at a time finds out whether it is back.
pub(super) struct Health {
    policy: Policy,
    state: Mutex<State>,
}

struct State {
    /// Failures less successes.
    failures: u32,
    out: Option<Out>,
    /// Asked to be left alone until then.
    rest: Option<Instant>,
}

/// A source that is left out.
struct Out {
    until: Instant,
    trial: bool,
    pauses: ExponentialBackoff,
}

/// Whether a source is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breaker {
    /// It is asked in its turn.
    Closed,
    /// It is left out while others are there.
    Open,
    /// It may be tried again.
    HalfOpen,
}

impl Health {
    pub(super) fn new(policy: Policy) -> Self {
        let state = State {
            failures: 0,
            out: None,
            rest: None,
        };
        Self {
            policy,
            state: Mutex::new(state),
        }
    }

    pub(super) fn breaker(&self) -> Breaker {
        match &self.state.lock().out {
            None => Breaker::Closed,
            Some(out) if Instant::now() < out.until => Breaker::Open,
            Some(_) => Breaker::HalfOpen,
        }
    }

    /// When the source wants to be asked again, if that is to come.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        state.rest = state.rest.filter(|until| Instant::now() < *until);
        state.rest
    }

    /// Takes note of a source's wish to be left alone.
    pub(super) fn rest(&self, wish: Duration) {
        let until = Instant::now() + wish.min(LONGEST_REST);
        let mut state = self.state.lock();
        state.rest = state.rest.max(Some(until));
    }

    /// Whether the caller is to try out the source: true once per pause.
    pub(super) fn begin_trial(&self) -> bool {
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.rest.is_some_and(|until| now < until) {
            return false;
        }
        match &mut state.out {
            Some(out) if !out.trial && now >= out.until => {
                out.trial = true;
                true
            }
            _ => false,
        }
    }

    /// Takes note of a trial whose end is not known.
    pub(super) fn abandon_trial(&self) {
        if let Some(out) = &mut self.state.lock().out {
            out.trial = false;
        }
    }

    /// Takes note of a success; whether that brings the source back.
    pub(super) fn succeeded(&self) -> bool {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_sub(1);
        let back = state.out.take().is_some();
        if back {
            state.failures = 0;
        }
        back
    }

    /// Takes note of a failure; whether the source is left out from now on.
    pub(super) fn failed(&self) -> bool {
        self.blame(1)
    }

    /// Takes note of wrong bytes; whether the source is left out from now on.
    pub(super) fn lied(&self) -> bool {
        self.blame(LIE)
    }

    fn blame(&self, weight: u32) -> bool {
        let mut state = self.state.lock();
        let now = Instant::now();
        if let Some(out) = &mut state.out {
            // Requests that were under way say nothing new.
            if now >= out.until {
                out.until = now + out.pauses.next().unwrap_or(self.policy.cool_down);
                out.trial = false;
            }
            return false;
        }
        state.failures = state.failures.saturating_add(weight);
        if state.failures < self.policy.failures.max(1) {
            return false;
        }
        let mut pauses = self.pauses();
        let until = now + pauses.next().unwrap_or(self.policy.cool_down);
        state.out = Some(Out {
            until,
            trial: false,
            pauses,
        });
        true
    }

    fn pauses(&self) -> ExponentialBackoff {
        let first = self.policy.cool_down;
        ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(first)
            .with_max_delay(first.saturating_mul(GROWTH))
            .without_max_times()
            .build()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn health() -> Health {
        Health::new(Policy {
            failures: 3,
            cool_down: Duration::from_secs(1),
            ..Policy::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_the_breaker_and_a_success_closes_it() {
        let health = health();
        assert!(!health.failed() && !health.failed());
        assert_eq!(health.breaker(), Breaker::Closed);
        assert!(health.failed());
        assert_eq!(health.breaker(), Breaker::Open);
        assert!(!health.failed(), "only the first is news");
        assert!(health.succeeded());
        assert_eq!(health.breaker(), Breaker::Closed);
        assert!(!health.failed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_trial_at_a_time_and_each_failed_one_makes_the_pause_longer() {
        let health = health();
        for _ in 0..3 {
            health.failed();
        }
        assert!(!health.begin_trial());
        // At random up to twice the pause.
        for pause in [2, 4, 8, 16, 32, 32, 32] {
            advance(Duration::from_secs(pause / 2) - Duration::from_millis(1)).await;
            assert_eq!(health.breaker(), Breaker::Open, "{pause}");
            advance(Duration::from_secs(pause / 2) + Duration::from_millis(2)).await;
            assert_eq!(health.breaker(), Breaker::HalfOpen, "{pause}");
            assert!(health.begin_trial());
            assert!(!health.begin_trial());
            health.failed();
        }
        advance(Duration::from_secs(60)).await;
        assert!(health.begin_trial());
        health.abandon_trial();
        assert!(health.begin_trial());
        assert!(health.succeeded());
        assert_eq!(health.breaker(), Breaker::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_always_lies_is_left_out_and_one_that_rarely_does_is_not() {
        let health = health();
        for number in 0..700 {
            health.succeeded();
            if number % 7 == 0 {
                assert!(!health.lied());
            }
        }
        let left_out = (0..10).any(|_| {
            health.succeeded();
            health.lied()
        });
        assert!(left_out);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_ends_and_is_never_longer_than_a_minute() {
        let health = health();
        assert_eq!(health.rests_until(), None);
        health.rest(Duration::from_secs(3600));
        health.rest(Duration::from_secs(1));
        let minute = Instant::now() + Duration::from_secs(60);
        assert_eq!(health.rests_until(), Some(minute));
        advance(Duration::from_secs(60)).await;
        assert_eq!(health.rests_until(), None);
    }
}
