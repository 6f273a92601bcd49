//! Where proved chunks go while the cache cannot be written: a little memory.

use std::sync::OnceLock;

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::chunk::Chunk;

/// Bytes of chunks held: a few of the largest.
const BUDGET: u64 = 64 << 20;

/// Chunks expected; only the bookkeeping is sized by it.
const CHUNKS: usize = 64;

#[derive(Clone)]
struct Length;

impl Weighter<Chunk, Bytes> for Length {
    fn weight(&self, _: &Chunk, bytes: &Bytes) -> u64 {
        u64::try_from(bytes.len()).unwrap_or(u64::MAX).max(1)
    }
}

/// Chunks in memory; takes none until one is put in.
#[derive(Default)]
pub(super) struct Spare {
    chunks: OnceLock<Cache<Chunk, Bytes, Length>>,
}

impl Spare {
    /// The proved bytes of exactly this chunk.
    pub(super) fn get(&self, chunk: &Chunk) -> Option<Bytes> {
        self.chunks.get()?.get(chunk)
    }

    /// Drops a chunk.
    pub(super) fn remove(&self, chunk: &Chunk) {
        if let Some(chunks) = self.chunks.get() {
            chunks.remove(chunk);
        }
    }

    /// Keeps the proved bytes of a chunk.
    pub(super) fn insert(&self, chunk: &Chunk, bytes: &Bytes) {
        // A slice would keep the whole request that it came in.
        let bytes = Bytes::copy_from_slice(bytes);
        self.chunks
            .get_or_init(|| Cache::with_weighter(CHUNKS, BUDGET, Length))
            .insert(*chunk, bytes);
    }
}
