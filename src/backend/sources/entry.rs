//! One source, its health and its counters.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{self, Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use tokio::time::Instant;

use super::health::{Breaker, Health};
use super::{Policy, Source};
use crate::backend::{Backend, BackendError, BlobRange, Body};
use crate::log_limit::LogLimit;

/// Most bytes that a source which was left out is tried with.
const TRIAL_BYTES: usize = 64 << 10;

/// Longest time that a trial takes.
const TRIAL_TIME: Duration = Duration::from_secs(30);

/// What a source has done since the start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SourceFigures {
    /// What it is: a directory, a URL without secrets.
    pub name: String,
    /// Requests, retries among them.
    pub requests: u64,
    /// Requests that failed, before or within the body.
    pub errors: u64,
    /// Requests for a range that the source was asked for before.
    pub retries: u64,
    /// Bytes that were delivered.
    pub bytes: u64,
    /// Microseconds from requests to the headers of their answers, failed
    /// requests not counted.
    pub answer_micros: u64,
    /// Chunks that failed their proof.
    pub lies: u64,
    /// How often the source was left out.
    pub outages: u64,
    /// Whether it is left out for now because it failed too often.
    pub resting: bool,
    /// The same, in detail.
    pub breaker: Breaker,
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    errors: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
    answer_micros: AtomicU64,
    lies: AtomicU64,
    outages: AtomicU64,
}

/// A source in its place.
pub(super) struct Entry {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) policy: Policy,
    pub(super) health: Health,
    counters: Counters,
    lines: LogLimit,
}

impl Entry {
    pub(super) fn new(Source { backend, policy }: Source) -> Self {
        Self {
            backend,
            policy,
            health: Health::new(policy),
            counters: Counters::default(),
            lines: LogLimit::new(),
        }
    }

    pub(super) fn figures(&self) -> SourceFigures {
        let counters = &self.counters;
        let breaker = self.health.breaker();
        SourceFigures {
            name: self.backend.describe(),
            requests: counters.requests.load(Relaxed),
            errors: counters.errors.load(Relaxed),
            retries: counters.retries.load(Relaxed),
            bytes: counters.bytes.load(Relaxed),
            answer_micros: counters.answer_micros.load(Relaxed),
            lies: counters.lies.load(Relaxed),
            outages: counters.outages.load(Relaxed),
            resting: breaker != Breaker::Closed,
            breaker,
        }
    }

    /// One request, its outcome noted. When the future is dropped after the
    /// source's time was up, that is a failure too.
    pub(super) async fn open(
        self: &Arc<Self>,
        range: BlobRange<'_>,
        again: bool,
    ) -> Result<Body, BackendError> {
        self.counters.requests.fetch_add(1, Relaxed);
        self.counters.retries.fetch_add(again.into(), Relaxed);
        let waiting = Waiting {
            entry: self,
            since: Instant::now(),
        };
        let opened = self.backend.open(range).await;
        let since = waiting.over();
        match opened {
            Ok(body) => {
                let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.counters.answer_micros.fetch_add(micros, Relaxed);
                let entry = Arc::clone(self);
                Ok(Watched { body, entry }.boxed())
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// Takes note of a request that failed.
    pub(super) fn failed(&self, error: &BackendError) {
        self.counters.errors.fetch_add(1, Relaxed);
        if let Some(number) = self.lines.count() {
            log::warn!("A source failed ({number} so far): {error}");
        }
        if let Some(wish) = error.retry_after() {
            self.health.rest(wish);
        } else if error.blames_source() {
            self.news(self.health.failed());
        } else {
            self.back(self.health.succeeded());
        }
    }

    /// Takes note of bytes that failed their proof.
    pub(super) fn lied(&self) {
        self.counters.lies.fetch_add(1, Relaxed);
        self.news(self.health.lied());
    }

    /// Tries out, beside everything else, whether the source is back.
    pub(super) fn try_out(self: &Arc<Self>, range: BlobRange<'_>) {
        let (entry, id) = (Arc::clone(self), range.id.to_owned());
        let (offset, class) = (range.offset, range.class);
        let len = range.len.min(TRIAL_BYTES);
        tokio::spawn(async move {
            let trial = async {
                let range = BlobRange {
                    id: &id,
                    offset,
                    len,
                    class,
                };
                let body = entry.open(range, false).await?;
                if let Err(error) = body.try_for_each(|_| ready(Ok(()))).await {
                    entry.failed(&error);
                }
                Ok::<_, BackendError>(())
            };
            let _ = tokio::time::timeout(TRIAL_TIME, trial).await;
            entry.health.abandon_trial();
        });
    }

    fn news(&self, left_out: bool) {
        if left_out {
            self.counters.outages.fetch_add(1, Relaxed);
            log::warn!(
                "{} fails and is left out for a while",
                self.backend.describe()
            );
        }
    }

    fn back(&self, back: bool) {
        if back {
            log::info!("{} is back", self.backend.describe());
        }
    }
}

/// A request without an answer.
struct Waiting<'a> {
    entry: &'a Entry,
    since: Instant,
}

impl Waiting<'_> {
    /// The answer is there; when the request was sent.
    fn over(self) -> Instant {
        let since = self.since;
        std::mem::forget(self);
        since
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.since.elapsed() >= self.entry.policy.patience {
            self.entry.counters.errors.fetch_add(1, Relaxed);
            self.entry.news(self.entry.health.failed());
        }
    }
}

/// A body whose bytes are counted. Its end is a success; an error in it is told
/// by the one who reads.
struct Watched {
    body: Body,
    entry: Arc<Entry>,
}

impl Stream for Watched {
    type Item = Result<Bytes, BackendError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = task::ready!(self.body.as_mut().poll_next(context));
        match &next {
            Some(Ok(bytes)) => {
                let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.entry.counters.bytes.fetch_add(len, Relaxed);
            }
            Some(Err(_)) => {}
            None => self.entry.back(self.entry.health.succeeded()),
        }
        Poll::Ready(next)
    }
}
