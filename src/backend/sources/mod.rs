//! Several sources of one image's blobs, in order.

mod policy;

use std::fmt;
use std::sync::Arc;

use super::{Backend, BackendError, BlobRange, Body};

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
    sources: Vec<Arc<dyn Backend>>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.sources.iter().map(|source| source.describe());
        f.debug_list().entries(names).finish()
    }
}

impl Sources {
    /// One source and no other.
    pub fn single(backend: Arc<dyn Backend>) -> Self {
        Self {
            sources: vec![backend],
        }
    }

    /// Several sources, asked in this order: peers and mirrors first, the origin
    /// last.
    pub fn new(sources: Vec<Source>) -> Self {
        let sources = sources.into_iter().map(|source| source.backend).collect();
        Self { sources }
    }

    /// Number of sources.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Asks the sources in order for a range, those in `avoid` last, until one
    /// agrees to deliver it.
    ///
    /// # Errors
    /// What the last of them said.
    pub async fn open(&self, range: BlobRange<'_>, avoid: Avoid) -> Result<Opened, BackendError> {
        let mut order: Vec<usize> = (0..self.sources.len()).collect();
        order.sort_by_key(|&source| avoid >> source.min(63) & 1);
        let mut last = BackendError::BadId {
            id: range.id.to_owned(),
        };
        for source in order {
            let Some(backend) = self.sources.get(source) else {
                continue;
            };
            match backend.open(range).await {
                Ok(body) => return Ok(Opened { source, body }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Notes that a body ended with an error after it was opened.
    pub fn broke(&self, _source: usize, _error: &BackendError) {}

    /// Notes that a source delivered bytes that failed their proof.
    pub fn lied(&self, _source: usize) {}

    /// What a source is, for messages.
    pub fn describe(&self, source: usize) -> String {
        let source = self.sources.get(source);
        source.map(|source| source.describe()).unwrap_or_default()
    }
}
