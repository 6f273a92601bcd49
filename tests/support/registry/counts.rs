//! What happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Sums since the start or the last reset. The control endpoints are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Connections accepted.
    pub connections: u64,
    /// Requests of every kind.
    pub requests: u64,
    /// GETs that reached a blob, whatever came of them.
    pub blob_gets: u64,
    /// Requests to `/token`.
    pub token_requests: u64,
    /// Redirects sent.
    pub redirects: u64,
    /// Answers by status; `"0"` are requests that got none.
    pub by_status: BTreeMap<String, u64>,
    /// Faults done, by `kind`.
    pub faults: BTreeMap<String, u64>,
    /// Bytes of bodies of blobs that were sent.
    pub bytes: u64,
    /// GETs for blobs, redirected ones too, from their arrival to the last byte
    /// of their answer.
    pub in_flight: u64,
    /// The most of them at once.
    pub most_in_flight: u64,
    /// Requests that showed credentials to the origin of signed links.
    pub leaked_authorization: u64,
}

/// One request and its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Microseconds since the start or the last reset.
    pub at_us: u64,
    /// Microseconds from arrival to the end of the body; 0 while under way.
    pub took_us: u64,
    /// `GET`, `HEAD` or `POST`.
    pub method: String,
    /// `blob` (its bytes were asked for here), `redirect`, `token`, `manifest`
    /// or `other`.
    pub kind: String,
    /// Path without query.
    pub path: String,
    /// The blob, for `blob` and `redirect`.
    pub blob: String,
    /// First and last byte asked for, as far as the blob goes.
    pub range: Option<(u64, u64)>,
    /// Status; 0 for none.
    pub status: u16,
    /// Bytes of the body that were sent.
    pub bytes: u64,
    /// `kind` of the fault that was done.
    pub fault: Option<String>,
    /// Scheme of the `Authorization` header.
    pub authorization: Option<String>,
    /// All other headers.
    pub headers: Vec<(String, String)>,
}

/// Keeps both.
#[derive(Debug)]
pub(super) struct Tally(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    start: Instant,
    /// Grows with each reset: what began before must not count afterwards.
    era: u64,
    counts: Counts,
    log: Vec<Entry>,
}

/// A request that is under way. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Ticket {
    tally: Arc<Tally>,
    era: u64,
    index: usize,
    begun: Instant,
    flying: bool,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Inner {
            start: Instant::now(),
            era: 0,
            counts: Counts::default(),
            log: Vec::new(),
        }))
    }

    pub(super) fn now(&self) -> Counts {
        self.0.lock().counts.clone()
    }

    pub(super) fn log(&self) -> Vec<Entry> {
        self.0.lock().log.clone()
    }

    pub(super) fn reset(&self) {
        let mut inner = self.0.lock();
        inner.start = Instant::now();
        inner.era += 1;
        inner.counts = Counts::default();
        inner.log.clear();
    }

    pub(super) fn connected(&self) {
        self.0.lock().counts.connections += 1;
    }

    /// Notes a request's arrival.
    pub(super) fn begin(self: &Arc<Self>, mut entry: Entry) -> Ticket {
        let mut inner = self.0.lock();
        let begun = Instant::now();
        entry.at_us = micros(begun.duration_since(inner.start));
        inner.counts.requests += 1;
        let index = inner.log.len();
        inner.log.push(entry);
        Ticket {
            tally: Arc::clone(self),
            era: inner.era,
            index,
            begun,
            flying: false,
        }
    }
}

impl Ticket {
    /// Changes the sums and this request's entry.
    pub(super) fn note(&self, change: impl FnOnce(&mut Counts, &mut Entry)) {
        let mut inner = self.tally.0.lock();
        let inner = &mut *inner;
        if inner.era == self.era
            && let Some(entry) = inner.log.get_mut(self.index)
        {
            change(&mut inner.counts, entry);
        }
    }

    /// The request is a GET for a blob.
    pub(super) fn flies(&mut self) {
        self.flying = true;
        self.note(|counts, _| {
            counts.in_flight += 1;
            counts.most_in_flight = counts.most_in_flight.max(counts.in_flight);
        });
    }

    pub(super) fn sent(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        self.note(|counts, entry| {
            counts.bytes += bytes;
            entry.bytes += bytes;
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (flying, took) = (self.flying, micros(self.begun.elapsed()));
        self.note(|counts, entry| {
            if flying {
                counts.in_flight = counts.in_flight.saturating_sub(1);
            }
            entry.took_us = took;
            *counts
                .by_status
                .entry(entry.status.to_string())
                .or_default() += 1;
        });
    }
}

fn micros(length: std::time::Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}
