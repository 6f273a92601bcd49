//! One source with its health and its counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::breaker::Breaker;
use super::{Opened, Policy, Source};
use crate::backend::{Backend, BackendError, BlobRange};

/// Totals of one source since the start.
#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
    lies: AtomicU64,
}

/// What one source did since the start.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SourceFigures {
    /// What it is: a directory, a URL without secrets.
    pub name: String,
    /// Requests that were made of it.
    pub requests: u64,
    /// Requests that it did not answer, and answers that broke off.
    pub errors: u64,
    /// Bytes that it delivered.
    pub bytes: u64,
    /// Chunks of it that failed their proof.
    pub lies: u64,
    /// Whether it is left out for now because it failed too often.
    pub resting: bool,
}

/// One source.
pub(super) struct Lane {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) policy: Policy,
    pub(super) breaker: Breaker,
    counts: Arc<Counts>,
}

impl Lane {
    pub(super) fn new(source: Source) -> Self {
        Self {
            backend: source.backend,
            policy: source.policy,
            breaker: Breaker::default(),
            counts: Arc::default(),
        }
    }

    /// Asks for a range once.
    pub(super) async fn ask(
        &self,
        source: usize,
        range: BlobRange<'_>,
    ) -> Result<Opened, BackendError> {
        self.counts.requests.fetch_add(1, Relaxed);
        match self.backend.open(range).await {
            Ok(body) => {
                self.breaker.worked();
                let counts = Arc::clone(&self.counts);
                let body = body.inspect_ok(move |part| {
                    let len = u64::try_from(part.len()).unwrap_or(u64::MAX);
                    counts.bytes.fetch_add(len, Relaxed);
                });
                let body = body.boxed();
                Ok(Opened { source, body })
            }
            Err(error) => {
                self.broke(&error);
                Err(error)
            }
        }
    }

    /// Notes an error. That a source does not have a blob says nothing about
    /// its health.
    pub(super) fn broke(&self, error: &BackendError) {
        self.counts.errors.fetch_add(1, Relaxed);
        if !error.is_missing() {
            self.breaker.failed(&self.policy);
        }
    }

    /// Notes bytes that failed their proof.
    pub(super) fn lied(&self) {
        self.counts.lies.fetch_add(1, Relaxed);
        self.breaker.lied(&self.policy);
    }

    pub(super) fn figures(&self) -> SourceFigures {
        SourceFigures {
            name: self.backend.describe(),
            requests: self.counts.requests.load(Relaxed),
            errors: self.counts.errors.load(Relaxed),
            bytes: self.counts.bytes.load(Relaxed),
            lies: self.counts.lies.load(Relaxed),
            resting: self.breaker.is_open(),
        }
    }
}
