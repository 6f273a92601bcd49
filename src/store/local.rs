//! What the host's cache has of a chunk: looked at, proved, taken out of use,
//! filled.

use std::sync::Arc;

use bytes::Bytes;

use super::cache_file::CacheFile;
use super::claim::Claim;
use super::counters::count;
use super::host::Kept;
use super::tags::Tags;
use super::{Store, Verify};
use crate::chunk::Chunk;

/// What the cache has of a chunk.
pub(super) enum Local {
    /// Nothing, and it is for this process to fetch it.
    Absent(Option<Claim>),
    /// Nothing, but another process fetches it.
    Elsewhere,
    /// Its bytes, fit to be served.
    Good(Bytes),
    /// A copy that is to be proved against the digest.
    Unproved(Bytes),
    /// A copy that is not the chunk.
    Damaged(&'static str),
}

impl Store {
    /// Whether a chunk has come into the cache, or is for this process to fetch.
    pub(super) fn look_again(&self, chunk: &Chunk) -> Local {
        match self.cache_file(chunk) {
            Some(file) if file.is_resident(chunk.index) => Local::Good(Bytes::new()),
            Some(file) => self.claim(file, chunk),
            None => Local::Absent(None),
        }
    }

    /// Reads the cache's copy, and proves it by its tags if they are known.
    pub(super) fn look(&self, chunk: &Chunk) -> Local {
        let Some(file) = self.cache_file(chunk) else {
            return Local::Absent(None);
        };
        if !file.is_resident(chunk.index) {
            let claimed = self.claim(file, chunk);
            // Someone may have fetched it between the look and the claim.
            if matches!(claimed, Local::Elsewhere) || !file.is_resident(chunk.index) {
                return claimed;
            }
        }
        let bytes = match file.read(chunk) {
            Ok(Some(bytes)) => Bytes::from(bytes),
            Ok(None) => return Local::Damaged("the cache file is cut short"),
            Err(error) => {
                log::warn!("Cannot read {} from the cache: {error}", self.name(chunk));
                return Local::Damaged("the cache file cannot be read");
            }
        };
        if self.config.verify != Verify::Always {
            file.remember(chunk.index);
            return Local::Good(bytes);
        }
        match self.tags.get(chunk) {
            Some(tags) if tags.prove(self.tags.mac(), &bytes) => {
                file.touch(chunk.index);
                if tags.absolve() {
                    count(&self.counters.interference);
                }
                Local::Good(bytes)
            }
            None if self.is_unproved(chunk) => self.claim(file, chunk),
            Some(_) if self.is_unproved(chunk) => Local::Damaged("the cache's copy was altered"),
            _ if file.was_evicted(chunk.index) => self.claim(file, chunk),
            _ => Local::Unproved(bytes),
        }
    }

    /// Whether a chunk was evicted; if so, it is forgotten.
    pub(super) fn was_evicted(&self, chunk: &Chunk) -> bool {
        let file = self.cache_file(chunk);
        file.is_some_and(|file| file.was_evicted(chunk.index))
    }

    /// Proves the cache's copy against the digest.
    pub(super) async fn prove_local(self: &Arc<Self>, chunk: Chunk, bytes: Bytes) -> Local {
        let permit = self.bounds().cpu().await;
        let proved = self.blocking(move |store| {
            let _permit = permit;
            let tags = store.prove(&chunk, &bytes).ok()?;
            count(&store.counters.cache_proofs);
            if let Some(file) = store.cache_file(&chunk) {
                file.touch(chunk.index);
            }
            if let Some(tags) = tags {
                store.tags.insert(tags);
            }
            Some(bytes)
        });
        match proved.await.flatten() {
            Some(bytes) => Local::Good(bytes),
            None => Local::Damaged("the cache's copy failed its proof"),
        }
    }

    /// Takes a bad copy out of use, and the claim to fetch it.
    pub(super) fn quarantine(&self, chunk: &Chunk, cause: &str) -> Option<Claim> {
        count(&self.counters.proof_failures_cache);
        if let Some(number) = self.quarantines.count() {
            log::warn!(
                "{}: {cause}; fetching it anew (damaged copy {number})",
                self.name(chunk)
            );
        }
        self.tags.remove(chunk);
        let file = self.cache_file(chunk)?;
        file.forget(chunk.index);
        file.claim(self.claimed_index(chunk))
    }

    /// Puts proved bytes into the cache. Where that fails, memory takes them.
    pub(super) fn keep(&self, chunk: &Chunk, bytes: Bytes, tags: Option<Tags>, ahead: bool) {
        let Some(file) = self.cache_file(chunk) else {
            self.spare.insert(chunk, &bytes);
            return;
        };
        match self.host.keep(file, chunk, &bytes) {
            Kept::Stored => {
                if let Some(tags) = tags {
                    if ahead {
                        tags.set_ahead();
                    }
                    self.tags.insert(tags);
                }
            }
            kept => {
                if let Kept::Failed = kept {
                    count(&self.counters.cache_write_errors);
                }
                self.tags.remove(chunk);
                self.spare.insert(chunk, &bytes);
            }
        }
    }

    /// Puts a chunk that was kept in memory into the cache, if that works by now.
    /// True: somebody else has put it there.
    pub(super) fn keep_late(&self, chunk: &Chunk, bytes: &Bytes) -> bool {
        if self.host.rests() {
            return false;
        }
        let Some(file) = self.cache_file(chunk) else {
            return false;
        };
        let there = file.is_resident(chunk.index);
        if !there {
            if !matches!(self.host.keep(file, chunk, bytes), Kept::Stored) {
                return false;
            }
            if self.config.verify == Verify::Always {
                self.tags.insert(Tags::of(self.tags.mac(), chunk, bytes));
            }
        }
        self.spare.remove(chunk);
        there
    }

    /// The chunk from another blob's cache on this host, proved and kept in its
    /// own.
    pub(super) async fn copy_from_elsewhere(self: &Arc<Self>, chunk: Chunk) -> Option<Bytes> {
        let find = move |store: &Self| store.host.elsewhere(store.cache_file(&chunk)?, &chunk);
        let found = self.blocking(find).await.flatten()?;
        let permit = self.bounds().cpu().await;
        let kept = self.blocking(move |store| {
            let proved = store.prove(&chunk, &found.bytes);
            drop(permit);
            let tags = proved.ok()?;
            count(&store.counters.copied_chunks);
            match store
                .host
                .keep_found(store.cache_file(&chunk)?, &chunk, &found)
            {
                Kept::Stored => {
                    if let Some(tags) = tags {
                        store.tags.insert(tags);
                    }
                }
                Kept::NoRoom | Kept::Failed => store.spare.insert(&chunk, &found.bytes),
            }
            Some(found.bytes)
        });
        kept.await.flatten()
    }

    /// Whether another blob's cache on this host seems to have the chunk.
    pub(super) fn is_elsewhere(&self, chunk: &Chunk) -> bool {
        let file = self.cache_file(chunk);
        file.is_some_and(|file| self.host.is_elsewhere(file, chunk))
    }

    /// The cache file of the chunk's blob, opened at its first use. May wait
    /// for the disk.
    pub(super) fn cache_file(&self, chunk: &Chunk) -> Option<&Arc<CacheFile>> {
        self.blob_cache_file(chunk.blob)
    }

    /// The cache file of a blob, opened at its first use. May wait for the disk.
    pub(super) fn blob_cache_file(&self, blob: u16) -> Option<&Arc<CacheFile>> {
        let blob = self.blobs.get(usize::from(blob))?;
        if let Some(file) = blob.file.get() {
            return Some(file);
        }
        if self.host.rests() {
            return None;
        }
        match self.host.blob(&blob.info) {
            Ok(file) => Some(blob.file.get_or_init(|| file)),
            Err(error) => {
                count(&self.counters.cache_write_errors);
                self.host.failed(&error);
                None
            }
        }
    }

    /// Whether this process knows that a chunk is at hand. No I/O.
    pub(super) fn is_known(&self, chunk: &Chunk) -> bool {
        let blob = self.blobs.get(usize::from(chunk.blob));
        let file = blob.and_then(|blob| blob.file.get());
        file.is_some_and(|file| file.is_known(chunk.index)) || self.spare.get(chunk).is_some()
    }

    /// Whether a chunk is in the cache, as this process or the map says. May
    /// wait for the disk.
    pub(super) fn is_resident(&self, chunk: &Chunk) -> bool {
        let file = self.cache_file(chunk);
        file.is_some_and(|file| file.is_resident(chunk.index))
    }

    /// The right to fetch a chunk of `file`, if no other process has it. Of an
    /// extent that is known the right to its first chunk is the right to all.
    fn claim(&self, file: &Arc<CacheFile>, chunk: &Chunk) -> Local {
        match file.claim(self.claimed_index(chunk)) {
            Some(claim) => Local::Absent(Some(claim)),
            None => Local::Elsewhere,
        }
    }

    fn claimed_index(&self, chunk: &Chunk) -> u32 {
        self.unit(chunk).map_or(chunk.index, |unit| unit.first())
    }
}
