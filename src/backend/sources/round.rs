//! Asks sources for a range until one agrees to deliver it.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, sleep, sleep_until};

use super::health::Breaker;
use super::{Avoid, Opened, Policy, Sources};
use crate::backend::{BackendError, BlobRange, Class};

/// A source that may still be asked for the range.
struct Candidate {
    source: usize,
    due: Instant,
    asked: bool,
    pauses: ExponentialBackoff,
}

/// The pauses before a source is asked again.
fn pauses(policy: &Policy) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(policy.first_pause)
        .with_max_delay(policy.longest_pause)
        .with_max_times(usize::try_from(policy.retry_limit).unwrap_or(usize::MAX))
        .build()
}

impl Sources {
    /// The sources in the order in which they are asked now. Those that are left
    /// out come last; one whose pause is over is tried out on the side, so that
    /// no reader waits for the outcome.
    fn candidates(&self, range: BlobRange<'_>, avoid: Avoid) -> Vec<Candidate> {
        let now = Instant::now();
        let mut ranked = Vec::with_capacity(self.entries.len());
        for (source, entry) in self.entries.iter().enumerate() {
            let avoided = avoid >> source.min(63) & 1;
            let out = entry.health.breaker() != Breaker::Closed;
            ranked.push((
                avoided,
                out,
                Candidate {
                    source,
                    due: entry.health.rests_until().unwrap_or(now),
                    asked: false,
                    pauses: pauses(&entry.policy),
                },
            ));
        }
        if ranked.iter().any(|(_, out, _)| !out) {
            for entry in self.entries.iter() {
                if entry.health.begin_trial() {
                    entry.try_out(range);
                }
            }
        }
        ranked.sort_by_key(|(avoided, out, _)| (*avoided, *out));
        ranked
            .into_iter()
            .map(|(_, _, candidate)| candidate)
            .collect()
    }

    pub(super) async fn ask(
        &self,
        range: BlobRange<'_>,
        avoid: Avoid,
    ) -> Result<Opened, BackendError> {
        let mut candidates = self.candidates(range, avoid);
        let mut last = None;
        loop {
            let Some(first) = candidates.iter().map(|candidate| candidate.due).min() else {
                return Err(last.map_or(BackendError::NoSource, |(_, error)| error));
            };
            sleep_until(first).await;
            let now = Instant::now();
            let due: Vec<(usize, bool)> = candidates
                .iter()
                .filter(|candidate| candidate.due <= now)
                .map(|candidate| (candidate.source, candidate.asked))
                .collect();
            let errors = match self.round(range, &due).await {
                Ok(opened) => return Ok(opened),
                Err(errors) => errors,
            };
            for (source, error) in errors {
                self.reschedule(&mut candidates, source, &error);
                // The last source in order is the origin: it knows best.
                if last
                    .as_ref()
                    .is_none_or(|(position, _)| source >= *position)
                {
                    last = Some((source, error));
                }
            }
        }
    }

    /// Plans the next request to a source that failed, or none.
    fn reschedule(&self, candidates: &mut Vec<Candidate>, source: usize, error: &BackendError) {
        let rest = self.entries.get(source);
        let rest = rest.and_then(|entry| entry.health.rests_until());
        candidates.retain_mut(|candidate| {
            if candidate.source != source {
                return true;
            }
            let pause = candidate.pauses.next().filter(|_| error.is_retryable());
            let Some(pause) = pause else { return false };
            let due = Instant::now() + pause;
            candidate.due = rest.map_or(due, |rest| rest.max(due));
            candidate.asked = true;
            true
        });
    }

    /// Asks each of `due` once, in this order: the next when one has failed, or
    /// has not answered in time and somebody waits.
    async fn round(
        &self,
        range: BlobRange<'_>,
        due: &[(usize, bool)],
    ) -> Result<Opened, Vec<(usize, BackendError)>> {
        let mut errors = Vec::new();
        let mut running = FuturesUnordered::new();
        let mut waiting = due.iter().filter_map(|&(source, asked)| {
            let entry = self.entries.get(source)?;
            let asking = async move { (source, entry.open(range, asked).await) };
            Some((entry.policy.patience, asking))
        });
        let mut next = waiting.next();
        let mut patience = Duration::ZERO;
        loop {
            if let Some((limit, asking)) = next.take() {
                running.push(asking);
                patience = limit;
                next = waiting.next();
            }
            let hurry = next.is_some() && range.class != Class::Prefetch;
            tokio::select! {
                outcome = running.next() => match outcome {
                    Some((source, Ok(body))) => return Ok(Opened { source, body }),
                    Some((source, Err(error))) => errors.push((source, error)),
                    None => return Err(errors),
                },
                () = sleep(patience), if hurry => {}
            }
        }
    }
}
