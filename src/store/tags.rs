//! Tags: keyed 128-bit checksums of the 4 KiB blocks of chunks that were
//! proved in this process.
//!
//! A read of 4 KiB must not hash a chunk of 1 MiB, so a chunk is proved whole
//! once and its blocks are checked by tag afterwards. The tag is a [`Mac`] under a key
//! that is made at start and never leaves the process: whoever alters the cache
//! cannot know the tag of what they write.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::error::StoreError;
use super::mac::{Mac, Tag};
use crate::chunk::Chunk;

/// Bytes under one tag; the last block of a chunk may be shorter.
pub(super) const BLOCK: usize = 4096;

/// Bytes under one tag of a span: large reads are checked by spans, which costs
/// a fifth less than by blocks. A multiple of [`BLOCK`].
pub(super) const SPAN: usize = 64 << 10;

/// Bytes that an entry costs beside its tags.
const ENTRY_COST: usize = 160;

/// A shard of the tag cache is not made smaller than this, in bytes, so that
/// the tags of the largest chunk (64 KiB) fit well.
const SHARD_BUDGET: usize = 1 << 20;

/// The key of this process, made at the first use.
fn key() -> Result<&'static [u8; 16], StoreError> {
    static KEY: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(key) = KEY.get() {
        return Ok(key);
    }
    let mut fresh = [0; 16];
    getrandom::fill(&mut fresh).map_err(StoreError::Random)?;
    Ok(KEY.get_or_init(|| fresh))
}

/// The tags of one chunk.
///
/// They stand for the chunk that they were made of and no other: the image
/// tells digest, length and offset anew with each read, and may lie.
pub(super) struct Tags {
    chunk: Chunk,
    tags: Box<[Tag]>,
    spans: Box<[Tag]>,
    suspect: AtomicBool,
    ahead: AtomicBool,
}

impl Tags {
    /// Tags of `bytes`, which were proved to be `chunk`.
    pub(super) fn of(mac: &Mac, chunk: &Chunk, bytes: &[u8]) -> Self {
        let mut mac = mac.clone();
        let mut all = |unit| {
            bytes
                .chunks(unit)
                .map(|part| {
                    mac.update(part);
                    mac.finalize_and_reset()
                })
                .collect()
        };
        Self {
            chunk: *chunk,
            tags: all(BLOCK),
            spans: all(SPAN),
            suspect: AtomicBool::new(false),
            ahead: AtomicBool::new(false),
        }
    }

    /// Notes that the chunk was fetched ahead of its readers.
    pub(super) fn set_ahead(&self) {
        self.ahead.store(true, Relaxed);
    }

    /// Takes the note back; true for the first reader of a chunk that was
    /// fetched ahead.
    pub(super) fn first_touch(&self) -> bool {
        self.ahead.load(Relaxed) && self.ahead.swap(false, Relaxed)
    }

    /// The tag of block `index`.
    pub(super) fn get(&self, index: usize) -> Option<&Tag> {
        self.tags.get(index)
    }

    /// The largest unit under one tag that starts at byte `at` of the chunk and
    /// ends by `end`: its length and its tag. `at` must be the start of a block,
    /// `end` the end of one; `len` is the length of the chunk.
    pub(super) fn unit(&self, at: usize, end: usize, len: usize) -> Option<(usize, &Tag)> {
        if at.is_multiple_of(SPAN) && (at + SPAN <= end || end == len) {
            return Some((SPAN.min(end - at), self.spans.get(at / SPAN)?));
        }
        Some((BLOCK.min(end - at), self.tags.get(at / BLOCK)?))
    }

    /// Whether `bytes` are the whole chunk.
    pub(super) fn prove(&self, mac: &Mac, bytes: &[u8]) -> bool {
        let mut mac = mac.clone();
        bytes.len().div_ceil(BLOCK) == self.tags.len()
            && bytes.chunks(BLOCK).zip(&self.tags).all(|(block, tag)| {
                mac.update(block);
                mac.finalize_and_reset() == *tag
            })
    }

    /// Notes that a check failed in the reader's memory.
    pub(super) fn suspect(&self) {
        self.suspect.store(true, Relaxed);
    }

    /// Takes the note back; true when there was one.
    pub(super) fn absolve(&self) -> bool {
        self.suspect.load(Relaxed) && self.suspect.swap(false, Relaxed)
    }

    fn cost(&self) -> usize {
        (self.tags.len() + self.spans.len()) * size_of::<Tag>() + ENTRY_COST
    }
}

/// Where a chunk's tags are found: blob number and index.
type Key = (u16, u32);

#[derive(Clone)]
struct Cost;

impl Weighter<Key, Arc<Tags>> for Cost {
    fn weight(&self, _: &Key, tags: &Arc<Tags>) -> u64 {
        u64::try_from(tags.cost()).unwrap_or(u64::MAX)
    }
}

/// Tags of many chunks under a budget of memory.
pub(super) struct TagCache {
    mac: Mac,
    cache: Cache<Key, Arc<Tags>, Cost>,
}

impl TagCache {
    /// An empty cache that holds up to `budget` bytes.
    pub(super) fn new(budget: usize) -> Result<Self, StoreError> {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(1024)
            .weight_capacity(u64::try_from(budget).unwrap_or(u64::MAX))
            .shards((budget / SHARD_BUDGET).clamp(1, 16))
            .build()
            .map_err(|why| StoreError::TagBudget {
                budget,
                reason: why.to_string(),
            })?;
        Ok(Self {
            mac: Mac::new(key()?),
            cache: Cache::with_options(
                options,
                Cost,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
        })
    }

    /// The tag function, keyed and ready for a block.
    pub(super) fn mac(&self) -> &Mac {
        &self.mac
    }

    /// The tags of exactly this chunk.
    pub(super) fn get(&self, chunk: &Chunk) -> Option<Arc<Tags>> {
        self.cache
            .get(&(chunk.blob, chunk.index))
            .filter(|tags| tags.chunk == *chunk)
    }

    /// Keeps the tags of a chunk whose proved bytes lie in the cache file.
    pub(super) fn insert(&self, tags: Tags) {
        let key = (tags.chunk.blob, tags.chunk.index);
        self.cache.insert(key, Arc::new(tags));
    }

    /// Forgets what is known of a chunk.
    pub(super) fn remove(&self, chunk: &Chunk) {
        self.cache.remove(&(chunk.blob, chunk.index));
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        self.cache.weight()
    }
}
