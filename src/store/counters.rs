//! What a store counts.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use serde::Serialize;

/// Cells over which the hit counters are spread, so that queue threads do not
/// fight for one cache line.
const CELLS: usize = 8;

thread_local! {
    static CELL: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct Hits {
    hits: AtomicU64,
    bytes: AtomicU64,
}

/// Running totals of one store, relaxed: good for looking at, not for deciding.
#[derive(Debug, Default)]
pub struct Counters {
    hits: [Hits; CELLS],
    pub(super) misses: AtomicU64,
    pub(super) fetches: AtomicU64,
    pub(super) fetched_bytes: AtomicU64,
    pub(super) fetched_chunks: AtomicU64,
    pub(super) copied_chunks: AtomicU64,
    pub(super) fetched_ahead: AtomicU64,
    pub(super) cache_proofs: AtomicU64,
    pub(super) proof_failures_cache: AtomicU64,
    pub(super) proof_failures_source: AtomicU64,
    pub(super) repairs: AtomicU64,
    pub(super) interference: AtomicU64,
    pub(super) fetch_errors: AtomicU64,
    pub(super) cache_write_errors: AtomicU64,
}

/// The totals at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Snapshot {
    /// Parts of chunks served on the hit path; a read may touch several.
    pub hits: u64,
    /// Bytes of these parts.
    pub hit_bytes: u64,
    /// Chunk reads that took the slow path.
    pub misses: u64,
    /// Requests to the sources; one may bring many chunks.
    pub fetches: u64,
    /// Stored bytes that the sources delivered.
    pub fetched_bytes: u64,
    /// Chunks that came from a source and proved.
    pub fetched_chunks: u64,
    /// Chunks copied from another image's cache on this host and proved.
    pub copied_chunks: u64,
    /// Of the fetched ones, chunks that no reader had asked for when they came.
    pub fetched_ahead: u64,
    /// Chunks of the cache that were proved against their digest.
    pub cache_proofs: u64,
    /// Chunks of the cache that failed their proof.
    pub proof_failures_cache: u64,
    /// Fetched chunks that failed their proof.
    pub proof_failures_source: u64,
    /// Chunks fetched again because the cache's copy had failed.
    pub repairs: u64,
    /// Checks that failed in the reader's memory while the cache's copy was
    /// right: the reader (or a repair at that moment) changed the bytes.
    pub interference: u64,
    /// Requests that no source answered, or that broke off.
    pub fetch_errors: u64,
    /// Chunks that could not be written to the cache.
    pub cache_write_errors: u64,
}

impl Counters {
    /// Counts one read of `len` bytes on the hit path.
    pub(super) fn hit(&self, len: usize) {
        if let Some(cell) = self.hits.get(cell()) {
            cell.hits.fetch_add(1, Relaxed);
            let len = u64::try_from(len).unwrap_or(u64::MAX);
            cell.bytes.fetch_add(len, Relaxed);
        }
    }

    /// The totals now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            hits: self.hits.iter().map(|cell| cell.hits.load(Relaxed)).sum(),
            hit_bytes: self.hits.iter().map(|cell| cell.bytes.load(Relaxed)).sum(),
            misses: self.misses.load(Relaxed),
            fetches: self.fetches.load(Relaxed),
            fetched_bytes: self.fetched_bytes.load(Relaxed),
            fetched_chunks: self.fetched_chunks.load(Relaxed),
            copied_chunks: self.copied_chunks.load(Relaxed),
            fetched_ahead: self.fetched_ahead.load(Relaxed),
            cache_proofs: self.cache_proofs.load(Relaxed),
            proof_failures_cache: self.proof_failures_cache.load(Relaxed),
            proof_failures_source: self.proof_failures_source.load(Relaxed),
            repairs: self.repairs.load(Relaxed),
            interference: self.interference.load(Relaxed),
            fetch_errors: self.fetch_errors.load(Relaxed),
            cache_write_errors: self.cache_write_errors.load(Relaxed),
        }
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The calling thread's cell: threads take turns.
fn cell() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    CELL.with(|cell| {
        if cell.get() == usize::MAX {
            cell.set(NEXT.fetch_add(1, Relaxed) % CELLS);
        }
        cell.get()
    })
}
