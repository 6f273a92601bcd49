//! Several sources of one image's blobs: in order, with health and retries.
//!
//! A range is asked of the first source that is healthy. One that fails, or has
//! not begun to deliver within its patience, passes the turn on at once; only
//! when all have failed is there a pause, jittered and growing, before the next
//! round. A source that fails too often in a row is left out for a while
//! (`breaker`), and one that lied about a chunk is asked last for it. When all
//! are left out they are asked all the same: there is nothing to lose.

mod breaker;
mod lane;
mod policy;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::{Backend, BackendError, BlobRange, Body, Class};
use lane::Lane;

pub use lane::SourceFigures;
pub use policy::Policy;

/// Sources by position, one bit each: those to be asked last.
pub type Avoid = u64;

/// A source and how it is treated.
pub struct Source {
    /// The source.
    pub backend: Arc<dyn Backend>,
    /// How it is treated.
    pub policy: Policy,
}

/// A range that a source agreed to deliver.
pub struct Opened {
    /// Position of the source.
    pub source: usize,
    /// Its bytes.
    pub body: Body,
}

/// Sources in the order in which they are asked.
pub struct Sources {
    lanes: Vec<Lane>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.lanes.iter().map(|lane| lane.backend.describe());
        f.debug_list().entries(names).finish()
    }
}

impl Sources {
    /// One source and no other.
    pub fn single(backend: Arc<dyn Backend>) -> Self {
        let policy = Policy::default();
        Self::new(vec![Source { backend, policy }])
    }

    /// Several sources, asked in this order: peers and mirrors first, the origin
    /// last.
    pub fn new(sources: Vec<Source>) -> Self {
        let lanes = sources.into_iter().map(Lane::new).collect();
        Self { lanes }
    }

    /// Number of sources.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Asks the sources in order for a range, those in `avoid` last, until one
    /// agrees to deliver it. Dropping the future ends all requests.
    ///
    /// # Errors
    /// What the last of them said, preferring what may pass.
    pub async fn open(&self, range: BlobRange<'_>, avoid: Avoid) -> Result<Opened, BackendError> {
        let policies = || self.lanes.iter().map(|lane| &lane.policy);
        let rounds = policies().map(|policy| policy.retry_limit).max();
        let longest = policies().map(|policy| policy.longest_pause).max();
        let longest = longest.unwrap_or_default();
        let first = policies().map(|policy| policy.first_pause).min();
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(first.unwrap_or_default())
            .with_max_delay(longest)
            .with_max_times(usize::try_from(rounds.unwrap_or(0)).unwrap_or(0))
            .with_jitter()
            .build();
        loop {
            let error = match self.round(range, avoid).await {
                Ok(opened) => return Ok(opened),
                Err(error) => error,
            };
            let asked = error.retry_after().unwrap_or_default();
            let pause = pauses.next().filter(|_| {
                // Who asks for a longer pause than we have is not waited for.
                error.is_retryable() && asked <= longest
            });
            let Some(pause) = pause else {
                return Err(error);
            };
            log::debug!("{error}; asking again in {:?}", pause.max(asked));
            tokio::time::sleep(pause.max(asked)).await;
        }
    }

    /// Asks each source once.
    async fn round(&self, range: BlobRange<'_>, avoid: Avoid) -> Result<Opened, BackendError> {
        let mut order = self.order(avoid).into_iter().peekable();
        let mut asked = FuturesUnordered::new();
        let mut worst: Option<BackendError> = None;
        let mut patience = Duration::ZERO;
        loop {
            if asked.is_empty() {
                let Some((at, lane)) = order.next() else {
                    return Err(worst.unwrap_or(BackendError::NoSource));
                };
                patience = lane.policy.patience;
                asked.push(lane.ask(at, range));
            }
            let may_pass_on = order.peek().is_some() && range.class != Class::Prefetch;
            tokio::select! {
                Some(answer) = asked.next() => match answer {
                    Ok(opened) => return Ok(opened),
                    Err(error) => {
                        let keep = worst.as_ref().is_some_and(BackendError::is_retryable);
                        if !keep {
                            worst = Some(error);
                        }
                    }
                },
                () = tokio::time::sleep(patience), if may_pass_on => {
                    if let Some((at, lane)) = order.next() {
                        patience = lane.policy.patience;
                        asked.push(lane.ask(at, range));
                    }
                }
            }
        }
    }

    /// The sources in the order in which they are to be asked now: healthy ones
    /// first, those to be avoided behind them, those left out only if there are
    /// no others.
    fn order(&self, avoid: Avoid) -> Vec<(usize, &Lane)> {
        let all = || self.lanes.iter().enumerate();
        let mut order: Vec<_> = all()
            .filter(|(_, lane)| lane.breaker.rests(&lane.policy).is_none())
            .collect();
        if order.is_empty() {
            order = all().collect();
        }
        order.sort_by_key(|(at, _)| avoid >> (*at).min(63) & 1);
        order
    }

    /// Notes that a body ended with an error after it was opened.
    pub fn broke(&self, source: usize, error: &BackendError) {
        if let Some(lane) = self.lanes.get(source) {
            lane.broke(error);
        }
    }

    /// Notes that a source delivered bytes that failed their proof.
    pub fn lied(&self, source: usize) {
        if let Some(lane) = self.lanes.get(source) {
            lane.lied();
        }
    }

    /// What a source is, for messages.
    pub fn describe(&self, source: usize) -> String {
        let lane = self.lanes.get(source);
        lane.map(|lane| lane.backend.describe()).unwrap_or_default()
    }

    /// What each source did since the start, in order.
    pub fn figures(&self) -> Vec<SourceFigures> {
        self.lanes.iter().map(Lane::figures).collect()
    }
}
