//! The slow path: a chunk out of the cache if it proves, else from the
//! backend, proved, and into the cache. All bytes stay in private memory until
//! they are proved.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;

use super::cache_file::CacheFile;
use super::counters::count;
use super::decompress::decompress;
use super::error::{Damage, StoreError};
use super::tags::Tags;
use super::{Store, Verify};
use crate::backend::sources::Avoid;
use crate::backend::{BlobRange, Class};
use crate::chunk::Chunk;

/// Times that a chunk is fetched before it is called damaged.
const ATTEMPTS: usize = 2;

/// What the cache has of a chunk.
enum Local {
    /// Nothing.
    Absent,
    /// Its bytes, fit to be served.
    Good(Bytes),
    /// A copy that is to be proved against the digest.
    Unproved(Bytes),
    /// A copy that is not the chunk.
    Damaged,
}

impl Store {
    /// The proved bytes of a chunk that was validated.
    pub(super) async fn bring(self: &Arc<Self>, chunk: Chunk) -> Result<Bytes, StoreError> {
        if let Some(bytes) = self.spare.get(&chunk) {
            return Ok(bytes);
        }
        let _room = self.bounds().room(&chunk).await;
        let local = match self.blocking(move |store| store.look(&chunk)).await {
            Some(Local::Unproved(bytes)) => self.prove_local(chunk, bytes).await,
            Some(local) => local,
            None => Local::Absent,
        };
        let repairs = match local {
            Local::Good(bytes) => return Ok(bytes),
            Local::Absent | Local::Unproved(_) => false,
            Local::Damaged => {
                self.blocking(move |store| store.quarantine(&chunk)).await;
                true
            }
        };
        let bytes = self.fetch(chunk).await?;
        if repairs {
            count(&self.counters.repairs);
            log::info!("Repaired {}: fetched anew and proved", self.name(&chunk));
        }
        Ok(bytes)
    }

    /// Reads the cache's copy, and proves it by its tags if they are known.
    fn look(&self, chunk: &Chunk) -> Local {
        let Some(file) = self.cache_file(chunk) else {
            return Local::Absent;
        };
        if !file.is_resident(chunk.index) {
            return Local::Absent;
        }
        let bytes = match file.read(chunk) {
            Ok(Some(bytes)) => Bytes::from(bytes),
            Ok(None) => return Local::Damaged,
            Err(error) => {
                log::warn!("Cannot read {} from the cache: {error}", self.name(chunk));
                return Local::Damaged;
            }
        };
        if self.config.verify != Verify::Always {
            file.remember(chunk.index);
            return Local::Good(bytes);
        }
        match self.tags.get(chunk) {
            Some(tags) if tags.prove(self.tags.mac(), &bytes) => {
                if tags.absolve() {
                    count(&self.counters.interference);
                }
                Local::Good(bytes)
            }
            _ => Local::Unproved(bytes),
        }
    }

    /// Proves the cache's copy against the digest.
    async fn prove_local(self: &Arc<Self>, chunk: Chunk, bytes: Bytes) -> Local {
        let proved = self.cpu(move |store| {
            let tags = store.prove(&chunk, &bytes).ok()?;
            count(&store.counters.cache_proofs);
            if let Some(tags) = tags {
                store.tags.insert(tags);
            }
            Some(bytes)
        });
        match proved.await.flatten() {
            Some(bytes) => Local::Good(bytes),
            None => Local::Damaged,
        }
    }

    /// Takes a bad copy out of use.
    fn quarantine(&self, chunk: &Chunk) {
        count(&self.counters.proof_failures_cache);
        log::warn!(
            "Cache's copy of {} is damaged: fetching it anew",
            self.name(chunk)
        );
        self.tags.remove(chunk);
        if let Some(file) = self.cache_file(chunk) {
            file.forget(chunk.index);
        }
    }

    /// Fetches, proves and keeps a chunk.
    async fn fetch(self: &Arc<Self>, chunk: Chunk) -> Result<Bytes, StoreError> {
        let (mut attempt, mut avoid) = (1, 0);
        loop {
            let (source, stored) = self.ask_source(&chunk, avoid).await?;
            let proved = self.cpu(move |store| store.unpack(&chunk, stored)).await;
            let reason = match proved {
                Some(Ok((bytes, tags))) => {
                    let copy = bytes.clone();
                    self.blocking(move |store| store.keep(&chunk, copy, tags))
                        .await;
                    return Ok(bytes);
                }
                Some(Err(reason)) => reason,
                None => return Err(lost(&chunk)),
            };
            count(&self.counters.proof_failures_source);
            self.sources.lied(source);
            avoid |= 1 << source.min(63);
            let damaged = StoreError::Damaged {
                id: self.blob_id(&chunk),
                index: chunk.index,
                digest: chunk.digest,
                source_name: self.sources.describe(source),
                reason: Box::new(reason),
            };
            if attempt == ATTEMPTS {
                return Err(damaged);
            }
            if let Some(number) = self.damages.count() {
                log::warn!("{damaged}; trying again (damaged answer {number})");
            }
            attempt += 1;
        }
    }

    /// The stored form of a chunk, as a source tells it.
    async fn ask_source(&self, chunk: &Chunk, avoid: Avoid) -> Result<(usize, Bytes), StoreError> {
        let id = self.blob_id(chunk);
        let range = BlobRange {
            id: &id,
            offset: chunk.stored_offset,
            len: usize::try_from(chunk.stored_len).unwrap_or(usize::MAX),
            class: Class::Demand,
        };
        let _permit = self.bounds().fetch().await;
        count(&self.counters.fetches);
        let got = async {
            let opened = self.sources.open(range, avoid).await?;
            let mut stored = BytesMut::new();
            let mut body = opened.body;
            while let Some(part) = body.try_next().await? {
                stored.extend_from_slice(&part);
            }
            Ok((opened.source, stored.freeze()))
        };
        match got.await {
            Ok((source, stored)) => {
                let got = u64::try_from(stored.len()).unwrap_or(u64::MAX);
                self.counters.fetched_bytes.fetch_add(got, Relaxed);
                Ok((source, stored))
            }
            Err(source) => {
                count(&self.counters.fetch_errors);
                Err(StoreError::Fetch {
                    id,
                    index: chunk.index,
                    digest: chunk.digest,
                    source: Box::new(source),
                })
            }
        }
    }

    /// From the stored form to proved bytes and their tags.
    fn unpack(&self, chunk: &Chunk, stored: Bytes) -> Result<(Bytes, Option<Tags>), Damage> {
        let blob = self.blobs.get(usize::from(chunk.blob));
        let compressor = blob.map_or(crate::chunk::Compressor::None, |blob| blob.info.compressor);
        let bytes = decompress(chunk, compressor, stored)?;
        let tags = self.prove(chunk, &bytes)?;
        Ok((bytes, tags))
    }

    /// Proves `bytes` against the digest, and makes their tags if reads will
    /// need them.
    fn prove(&self, chunk: &Chunk, bytes: &[u8]) -> Result<Option<Tags>, Damage> {
        if self.config.verify == Verify::Off {
            return Ok(None);
        }
        let blob = self.blobs.get(usize::from(chunk.blob));
        let got = blob.map(|blob| blob.info.algorithm.digest(bytes));
        if got != Some(chunk.digest) {
            let got = got.unwrap_or_default();
            return Err(Damage::Digest { got });
        }
        let always = self.config.verify == Verify::Always;
        Ok(always.then(|| Tags::of(self.tags.mac(), chunk, bytes)))
    }

    /// Puts proved bytes into the cache. Where that fails, memory takes them.
    fn keep(&self, chunk: &Chunk, bytes: Bytes, tags: Option<Tags>) {
        let Some(file) = self.cache_file(chunk) else {
            self.spare.insert(chunk, bytes);
            return;
        };
        match file.write(chunk, &bytes) {
            Ok(()) => {
                if let Some(tags) = tags {
                    self.tags.insert(tags);
                }
            }
            Err(error) => {
                file.forget(chunk.index);
                self.tags.remove(chunk);
                self.cache_failed(&error);
                self.spare.insert(chunk, bytes);
            }
        }
    }

    /// The cache file of the chunk's blob, opened at its first use. May wait
    /// for the disk.
    fn cache_file(&self, chunk: &Chunk) -> Option<&Arc<CacheFile>> {
        let blob = self.blobs.get(usize::from(chunk.blob))?;
        let file = blob.file.get_or_init(|| {
            self.host
                .blob(&blob.info)
                .inspect_err(|error| self.cache_failed(error))
                .ok()
        });
        file.as_ref()
    }

    /// Counts a failure to write to the cache, and says it once.
    fn cache_failed(&self, error: &std::io::Error) {
        count(&self.counters.cache_write_errors);
        if self.cache_complained.swap(true, Relaxed) {
            return;
        }
        let place = self.config.cache.as_deref();
        let place = place.map_or("a temporary file".into(), |dir| dir.display().to_string());
        log::error!("Cannot keep chunks in {place}: {error}; serving from memory until it works");
    }

    /// Does `work` on a core, as soon as one is free.
    async fn cpu<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let permit = self.bounds().cpu().await;
        self.blocking(move |store| {
            let done = work(store);
            drop(permit);
            done
        })
        .await
    }

    /// Does `work` where waiting is allowed. `None` when it panicked or the
    /// runtime is ending.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let store = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&store)).await.ok()
    }
}

fn lost(chunk: &Chunk) -> StoreError {
    StoreError::Lost {
        blob: chunk.blob,
        index: chunk.index,
    }
}
