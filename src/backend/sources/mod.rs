//! Several sources of one image's blobs, in order.
//!
//! A range is asked of the first source; when that fails, at once of the next;
//! when all have failed, again of those whose error may pass, after a pause. A
//! source that is slow to answer gets company, and one that fails again and
//! again is left out until a small request on the side succeeds.
//!
//! May use: the words of `backend`. Used by: `store`, `config`, `cli`.

mod entry;
mod health;
mod policy;
mod round;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use self::entry::Entry;
use super::{Backend, BackendError, BlobRange, Body};

pub use entry::SourceFigures;
pub use health::Breaker;
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

/// Sources in the order in which they are asked. Clones share health and
/// counters.
#[derive(Clone)]
pub struct Sources {
    entries: Arc<[Arc<Entry>]>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.entries.iter().map(|entry| entry.backend.describe());
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
        let entries = sources
            .into_iter()
            .map(|source| Arc::new(Entry::new(source)));
        Self {
            entries: entries.collect(),
        }
    }

    /// Number of sources.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Asks the sources in order for a range, those in `avoid` last, until one
    /// agrees to deliver it. There is no limit in time but those of the sources
    /// and their policies: a caller that waits no longer drops the future.
    ///
    /// # Errors
    /// What the last source in order said last.
    pub async fn open(&self, range: BlobRange<'_>, avoid: Avoid) -> Result<Opened, BackendError> {
        self.ask(range, avoid).await
    }

    /// Notes that a body ended with an error after it was opened.
    pub fn broke(&self, source: usize, error: &BackendError) {
        if let Some(entry) = self.entries.get(source) {
            entry.failed(error);
        }
    }

    /// Notes that a source delivered bytes that failed their proof.
    pub fn lied(&self, source: usize) {
        if let Some(entry) = self.entries.get(source) {
            entry.lied();
        }
    }

    /// What a source is, for messages.
    pub fn describe(&self, source: usize) -> String {
        let entry = self.entries.get(source);
        entry
            .map(|entry| entry.backend.describe())
            .unwrap_or_default()
    }

    /// What each source did since the start, in order.
    pub fn figures(&self) -> Vec<SourceFigures> {
        self.entries.iter().map(|entry| entry.figures()).collect()
    }
}
