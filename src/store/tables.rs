//! The tables that lie in a blob itself: brought when a chunk needs them, from
//! the cache or a source, kept in memory and in the cache.
//!
//! What they say is believed as far as it goes: a chunk that they place wrong
//! fails its proof, and then they are brought anew from a source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use parking_lot::RwLock;
use tokio::time::timeout;

use super::Store;
use super::counters::count;
use super::error::StoreError;
use crate::backend::sources::Avoid;
use crate::backend::{BackendError, BlobRange, Class};
use crate::chunk::{Chunk, Form, Tables};
use crate::extent::{Extents, StoredTables};

/// Times that tables are fetched before they are called damaged.
const ATTEMPTS: u32 = 4;

/// The tables of one blob.
#[derive(Default)]
pub(super) struct BlobTables {
    loaded: RwLock<Option<Arc<Extents>>>,
    /// Held while they are brought.
    loading: tokio::sync::Mutex<()>,
    /// Whether they are to be brought anew.
    stale: AtomicBool,
    /// Whether those in the cache are in doubt.
    doubted: AtomicBool,
}

impl BlobTables {
    /// Whether they are there and not in doubt.
    fn at_hand(&self) -> bool {
        !self.stale.load(Relaxed) && self.loaded.read().is_some()
    }
}

/// Why no tables came.
enum Missing {
    /// No source delivers.
    Refused(BackendError),
    /// This source's body broke off.
    Broken(BackendError, usize),
    /// Nothing came for as long as a reader waits.
    Late,
}

impl Store {
    /// Whether a chunk is stored together with others.
    pub(super) fn shares(&self, chunk: &Chunk) -> bool {
        match self.blobs.get(usize::from(chunk.blob)) {
            Some(blob) => match blob.info.packing.form {
                Form::Plain | Form::Tar => false,
                Form::Batch => chunk.stored_len == 0,
                Form::Zran => true,
            },
            None => false,
        }
    }

    /// The extents of a blob, if its tables are at hand.
    pub(super) fn extents(&self, blob: u16) -> Option<Arc<Extents>> {
        let blob = self.blobs.get(usize::from(blob))?;
        let loaded = blob.tables.loaded.read();
        loaded.as_ref().map(Arc::clone)
    }

    /// Has the tables that a chunk needs at hand. `avoid` names sources that are
    /// to be asked last.
    ///
    /// # Errors
    /// When no source delivers tables that make sense.
    pub(super) async fn need_tables(
        self: &Arc<Self>,
        chunk: &Chunk,
        class: Class,
        avoid: Avoid,
    ) -> Result<(), StoreError> {
        let Some(blob) = self.blobs.get(usize::from(chunk.blob)) else {
            return Ok(());
        };
        if !self.shares(chunk) || blob.tables.at_hand() {
            return Ok(());
        }
        let _one_at_a_time = blob.tables.loading.lock().await;
        if blob.tables.at_hand() {
            return Ok(());
        }
        let Some(places) = blob.info.packing.tables.clone() else {
            return Ok(());
        };
        let number = chunk.blob;
        if !blob.tables.doubted.load(Relaxed) {
            let cached = self.blocking(move |store| store.cached_tables(number));
            if let Some(extents) = cached.await.flatten() {
                self.set_tables(number, extents, None);
                return Ok(());
            }
        }
        self.fetch_tables(number, &places, class, avoid).await
    }

    /// Has tables brought anew after a chunk failed that they place, unless they
    /// are proved. True: the next ones are to come from a source.
    pub(super) fn doubt_tables(&self, blob: u16) -> bool {
        let Some(blob) = self.blobs.get(usize::from(blob)) else {
            return false;
        };
        let loaded = blob.tables.loaded.read();
        let doubted = loaded.as_ref().is_some_and(|it| !it.is_proved());
        if doubted {
            // They stay for what is under way.
            blob.tables.doubted.store(true, Relaxed);
            blob.tables.stale.store(true, Relaxed);
        }
        doubted
    }

    fn set_tables(&self, blob: u16, extents: Extents, source: Option<usize>) {
        log::debug!(
            "Blob number {blob}: {} bytes of tables from {}",
            extents.memory(),
            source.map_or("the cache".into(), |source| self.sources.describe(source))
        );
        if let Some(blob) = self.blobs.get(usize::from(blob)) {
            *blob.tables.loaded.write() = Some(Arc::new(extents));
            blob.tables.stale.store(false, Relaxed);
        }
    }

    /// The tables that the cache has, if they make sense. Waits for the disk.
    fn cached_tables(&self, number: u16) -> Option<Extents> {
        let blob = self.blobs.get(usize::from(number))?;
        let places = blob.info.packing.tables.as_ref()?;
        let file = self.blob_cache_file(number)?;
        let bytes = file.shared()?.tables(len_of(places))?;
        self.parse_tables(number, places, &bytes)
            .inspect_err(|reason| log::debug!("Tables in the cache: {reason}"))
            .ok()
    }

    fn parse_tables(&self, blob: u16, places: &Tables, bytes: &[u8]) -> Result<Extents, String> {
        let len = usize::try_from(places.info.1).unwrap_or(usize::MAX);
        let (info, toc) = bytes
            .split_at_checked(len)
            .ok_or("the tables are cut short")?;
        let toc = places.toc.map(|_| toc);
        self.records.extents(blob, &StoredTables { info, toc })
    }

    async fn fetch_tables(
        self: &Arc<Self>,
        number: u16,
        places: &Tables,
        class: Class,
        mut avoid: Avoid,
    ) -> Result<(), StoreError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (bytes, source) = match self.fetch_parts(places, class, avoid).await {
                Ok(fetched) => fetched,
                Err(Missing::Late) => {
                    return Err(StoreError::TablesLate {
                        id: places.id.clone(),
                        after: self.config.deadline,
                    });
                }
                Err(Missing::Broken(error, source)) if attempt < ATTEMPTS => {
                    self.sources.broke(source, &error);
                    avoid |= 1 << source.min(63);
                    continue;
                }
                Err(Missing::Refused(error) | Missing::Broken(error, _)) => {
                    count(&self.counters.fetch_errors);
                    return Err(StoreError::FetchTables {
                        id: places.id.clone(),
                        source: Arc::new(error),
                    });
                }
            };
            let (for_parsing, own) = (bytes.clone(), places.clone());
            let parse = move |store: &Self| store.parse_tables(number, &own, &for_parsing);
            let parsed = self.blocking(parse).await;
            let reason = match parsed {
                Some(Ok(extents)) => {
                    self.set_tables(number, extents, Some(source));
                    self.blocking(move |store| store.keep_tables(number, &bytes))
                        .await;
                    return Ok(());
                }
                Some(Err(reason)) => reason,
                None => "their parser failed".into(),
            };
            self.sources.lied(source);
            count(&self.counters.proof_failures_source);
            avoid |= 1 << source.min(63);
            let error = StoreError::DamagedTables {
                id: places.id.clone(),
                source_name: self.sources.describe(source),
                reason,
            };
            if attempt >= ATTEMPTS {
                return Err(error);
            }
            if let Some(number) = self.damages.count() {
                log::warn!("{error}; trying again (bad answer {number})");
            }
        }
    }

    /// Chunk-info table with header, and behind it the table of contents.
    async fn fetch_parts(
        &self,
        places: &Tables,
        class: Class,
        avoid: Avoid,
    ) -> Result<(Bytes, usize), Missing> {
        let mut all = BytesMut::new();
        let mut from = 0;
        for (offset, len) in std::iter::once(places.info).chain(places.toc) {
            let range = BlobRange {
                id: &places.id,
                offset,
                len: usize::try_from(len).unwrap_or(usize::MAX),
                class,
            };
            count(&self.counters.fetches);
            let opened = timeout(self.config.deadline, self.sources.open(range, avoid)).await;
            let opened = opened.map_err(|_| Missing::Late)?;
            let mut opened = opened.map_err(Missing::Refused)?;
            from = opened.source;
            let end = all.len() + range.len;
            loop {
                let part = timeout(self.config.deadline, opened.body.try_next()).await;
                let part = part.map_err(|_| Missing::Late)?;
                let part = part.map_err(|error| Missing::Broken(error, from))?;
                let Some(part) = part else { break };
                let got = u64::try_from(part.len()).unwrap_or(u64::MAX);
                self.counters.fetched_bytes.fetch_add(got, Relaxed);
                let room = end.saturating_sub(all.len());
                all.extend_from_slice(part.get(..room).unwrap_or(&part));
            }
        }
        Ok((all.freeze(), from))
    }

    fn keep_tables(&self, number: u16, bytes: &[u8]) {
        let file = self.blob_cache_file(number);
        if let Some(files) = file.and_then(|file| file.shared())
            && let Err(error) = files.put_tables(bytes)
        {
            log::debug!("Cannot keep the tables of blob number {number}: {error}");
        }
    }
}

/// Bytes of all tables together.
fn len_of(places: &Tables) -> usize {
    let toc = places.toc.map_or(0, |(_, len)| u64::from(len));
    usize::try_from(u64::from(places.info.1) + toc).unwrap_or(usize::MAX)
}
