//! How far the background downloads are.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// Running totals, relaxed: good for looking at.
#[derive(Debug, Default)]
pub struct Progress {
    /// Chunks that are to be brought, as far as is known.
    pub(super) wanted: AtomicU64,
    /// Chunks that were brought or found in the cache.
    pub(super) done: AtomicU64,
    /// Stored bytes of those that were not in the cache.
    pub(super) bytes: AtomicU64,
    /// Tries that failed; each is tried again.
    pub(super) failed: AtomicU64,
    /// Whether the whole image is in the cache.
    pub(super) complete: AtomicBool,
}

/// The totals at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct ProgressSnapshot {
    /// Chunks that are to be brought, as far as is known.
    pub wanted: u64,
    /// Chunks that were brought or found in the cache.
    pub done: u64,
    /// Stored bytes of those that were not in the cache: they came from a
    /// source, or from another image on the host.
    pub bytes: u64,
    /// Tries that failed; each is tried again.
    pub failed: u64,
    /// Whether every chunk of the image was brought into the cache.
    pub complete: bool,
}

impl Progress {
    /// The totals now.
    pub fn snapshot(&self) -> ProgressSnapshot {
        ProgressSnapshot {
            wanted: self.wanted.load(Relaxed),
            done: self.done.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            failed: self.failed.load(Relaxed),
            complete: self.complete.load(Relaxed),
        }
    }
}
