//! The chunk store: turns a chunk into proved bytes.
//!
//! Two doors: [`Store::read_hot`] for queue threads, which serves what is at
//! hand and proved without waiting, and [`Store::read`] for everything else,
//! which takes the chunk from the cache if it proves and else from the
//! backend. May use: `backend`, the shared words, `cipher`, `inflate`. Used by: `fs`,
//! `prefetch`, `control`, `cli`.
//!
//! * `open` makes a store, `validate` refuses chunks that make no sense.
//! * `hot` checks blocks by tag over the reader's memory; `slow` brings whole
//!   chunks, which `proving` proves privately, over `local`, which is its side of the
//!   cache, and `fetch`, which decides what is asked for next and in which
//!   requests.
//! * `tables` brings the tables that lie in blobs, for chunks that share extents.
//! * `flight` makes one task of many equal reads, `bounds` limits what is under
//!   way.
//! * `host` is the cache that daemons share, `cache_file` and `residency` a
//!   blob's part of it, never believed; `claim` says who fetches; `spare` stands in for it when it cannot
//!   be written.
//! * `tags` holds the checksums of blocks that were proved in this process, `mac` makes
//!   them.

mod bounds;
mod cache_file;
mod claim;
mod config;
mod counters;
mod decompress;
mod error;
mod fetch;
mod flight;
mod host;
mod hot;
mod local;
mod mac;
mod open;
mod proving;
mod residency;
mod slow;
mod spare;
mod tables;
mod tags;
#[cfg(test)]
mod tests;
mod validate;

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;

pub use self::config::{StoreConfig, UnknownVerify, Verify};
pub use self::counters::{Counters, Snapshot};
pub use self::error::{Damage, StoreError};
pub use self::fetch::LinkFigures;
pub use self::host::{
    BadChunk, BlobReport, CacheDirectory, CacheError, CacheFigures, GcOptions, GcReport,
    StatReport, VerifyReport,
};

use self::bounds::Bounds;
use self::cache_file::CacheFile;
use self::counters::count;
use self::fetch::{Fetcher, Unit};
use self::flight::{Flights, Joined, Urgency};
use self::host::HostCache;
use self::hot::{HotRead, Unserved};
use self::spare::Spare;
use self::tables::BlobTables;
use self::tags::TagCache;
use crate::backend::Class;
use crate::backend::sources::{SourceFigures, Sources};
use crate::chunk::{BlobInfo, Chunk};
use crate::destination::Destination;
use crate::log_limit::LogLimit;
use crate::records::ChunkRecords;
use crate::runtime;

/// How much longer than the deadline a reader waits for a flight to give up.
const GRACE: Duration = Duration::from_millis(20);

/// One blob and its cache, which is opened at the blob's first read.
struct Blob {
    info: BlobInfo,
    file: OnceLock<Arc<CacheFile>>,
    tables: BlobTables,
}

/// The chunks of one image.
pub struct Store {
    config: StoreConfig,
    host: HostCache,
    sources: Sources,
    records: Arc<dyn ChunkRecords>,
    blobs: Box<[Blob]>,
    tags: TagCache,
    flights: Arc<Flights>,
    fetcher: Fetcher,
    me: Weak<Self>,
    bounds: OnceLock<Bounds>,
    spare: Spare,
    counters: Counters,
    failures: LogLimit,
    damages: LogLimit,
    quarantines: LogLimit,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut it = f.debug_struct("Store");
        it.field("config", &self.config).finish_non_exhaustive()
    }
}

impl Store {
    /// The hit path, for queue threads: never waits for disk or network.
    ///
    /// True: `dest[at..at + len]` holds proved bytes `from..from + len` of the
    /// chunk. False: nothing of use is there; take [`Store::read`].
    pub fn read_hot(
        &self,
        chunk: &Chunk,
        from: u32,
        dest: &mut Destination<'_>,
        at: usize,
        len: usize,
    ) -> bool {
        let Some(blob) = self.blobs.get(usize::from(chunk.blob)) else {
            return false;
        };
        let Some(file) = blob.file.get() else {
            return false;
        };
        let (Ok(from), Ok(whole)) = (usize::try_from(from), usize::try_from(chunk.len)) else {
            return false;
        };
        let Some(end) = from.checked_add(len).filter(|&end| end <= whole) else {
            return false;
        };
        if at.checked_add(len).is_none_or(|behind| behind > dest.len()) {
            return false;
        }
        let read = HotRead {
            file,
            chunk,
            from,
            end,
            at,
        };
        let served = if self.config.verify == Verify::Always {
            // Tags are of chunks that were validated.
            let Some(tags) = self.tags.get(chunk) else {
                return false;
            };
            let served = read.checked(dest, self.tags.mac(), &tags);
            if served == Err(Unserved::Mismatch) {
                tags.suspect();
            } else if served.is_ok() && tags.first_touch() {
                self.touched_ahead(chunk);
            }
            served
        } else {
            if self.validate(chunk).is_err() || !file.is_known(chunk.index) {
                return false;
            }
            read.unchecked(dest)
        };
        if served.is_err() {
            // What was copied before the check failed must not stay.
            dest.scrub(at, len);
            return false;
        }
        file.touch(chunk.index);
        self.counters.hit(len);
        true
    }

    /// The whole chunk, proved. Must run inside the runtime of
    /// [`crate::runtime`]; concurrent callers of one chunk share the work.
    ///
    /// # Errors
    /// When the chunk's description makes no sense, the backend does not
    /// deliver what the digest names, or the deadline passes.
    pub async fn read(self: &Arc<Self>, chunk: Chunk) -> Result<Bytes, Arc<StoreError>> {
        count(&self.counters.misses);
        self.validate(&chunk)?;
        // A flight that was begun for nobody has no such deadline; one that has
        // ends first, so that who asks again starts anew.
        let end = tokio::time::Instant::now() + self.config.deadline + GRACE;
        let mut joined = self.join(chunk, Class::Demand);
        loop {
            let answer = tokio::time::timeout_at(end, joined.flight).await;
            match answer {
                // What failed may have begun long before this reader came.
                Ok(Err(_)) if !joined.begun && tokio::time::Instant::now() + 2 * GRACE < end => {
                    joined = self.join(chunk, Class::Demand);
                    joined.begun = true;
                }
                Ok(answer) => return answer,
                Err(_) => return Err(Arc::new(self.too_late(&chunk))),
            }
        }
    }

    fn join(self: &Arc<Self>, chunk: Chunk, class: Class) -> Joined {
        let joined = self.flights.join(chunk, class, |urgency| {
            let store = Arc::clone(self);
            async move {
                let brought = store.bring_in_time(chunk, &urgency).await;
                brought.map_err(Arc::new)
            }
        });
        if joined.raised {
            self.promote(&chunk, class);
        }
        joined
    }

    /// Brings a chunk into the cache before anybody asks for it; nothing is
    /// read or proved if it is there already. Must run inside the runtime of
    /// [`crate::runtime`]. Gives the stored bytes that had to be fetched.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn bring_ahead(
        self: &Arc<Self>,
        chunk: Chunk,
        class: Class,
    ) -> Result<u64, Arc<StoreError>> {
        self.validate(&chunk)?;
        let there = self.blocking(move |store| store.is_resident(&chunk)).await;
        if there == Some(true) {
            return Ok(0);
        }
        self.join(chunk, class).flight.await?;
        Ok(chunk.stored_len.into())
    }

    /// Whether a chunk is in the cache, as far as its map tells. May wait for
    /// the disk.
    pub fn is_here(&self, chunk: &Chunk) -> bool {
        self.validate(chunk).is_ok() && self.is_resident(chunk)
    }

    /// Most bytes that the cache may have, if there is a limit.
    pub fn cache_limit(&self) -> Option<u64> {
        let dir = self.config.cache.as_ref();
        dir.and(self.config.cache_limit)
    }

    /// What each source did since the start, in the order of the configuration.
    pub fn source_figures(&self) -> Vec<SourceFigures> {
        self.sources.figures()
    }

    /// What was measured of the link to the sources.
    pub fn link(&self) -> LinkFigures {
        self.fetcher.link()
    }

    /// On a queue's thread: a reader came to a chunk that was fetched ahead.
    fn touched_ahead(&self, chunk: &Chunk) {
        let (Some(store), Ok(runtime)) = (self.me.upgrade(), runtime::handle()) else {
            return;
        };
        let chunk = *chunk;
        runtime.spawn(async move { store.touched(&chunk) });
    }

    /// How much the host's cache directory holds; none without one, or before
    /// it was used. Waits for its disk.
    pub fn cache_figures(&self) -> Option<CacheFigures> {
        self.host.figures()
    }

    /// What the store has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Brings a chunk or gives up at the deadline; says what went wrong. What
    /// nobody waits for may wait longer for its turn.
    async fn bring_in_time(
        self: &Arc<Self>,
        chunk: Chunk,
        urgency: &Urgency,
    ) -> Result<Bytes, StoreError> {
        let after = match urgency.class() {
            Class::Demand => self.config.deadline,
            Class::Readahead | Class::Prefetch => self.config.deadline * 20,
        };
        let brought = tokio::time::timeout(after, self.bring(chunk, urgency)).await;
        let brought = brought.unwrap_or_else(|_| Err(self.too_late(&chunk)));
        brought.inspect_err(|error| {
            if let Some(number) = self.failures.count() {
                log::error!("{} (failed chunk read {number})", error::chain(error));
            }
        })
    }

    pub(in crate::store) fn too_late(&self, chunk: &Chunk) -> StoreError {
        StoreError::Deadline {
            id: self.blob_id(chunk),
            index: chunk.index,
            digest: chunk.digest,
            after: self.config.deadline,
        }
    }

    fn bounds(&self) -> &Bounds {
        self.bounds.get_or_init(Bounds::default)
    }

    /// The id of a chunk's blob.
    fn blob_id(&self, chunk: &Chunk) -> String {
        self.id_of(chunk.blob)
    }

    /// The id of a blob.
    fn id_of(&self, blob: u16) -> String {
        let blob = self.blobs.get(usize::from(blob));
        blob.map(|blob| blob.info.id.clone()).unwrap_or_default()
    }

    /// The unit's name for messages.
    fn unit_name(&self, unit: &Unit) -> String {
        match unit {
            Unit::Chunk(chunk) => self.name(chunk),
            Unit::Extent(extent) => {
                let (id, number) = (self.id_of(extent.blob), extent.number);
                format!("extent {number} of blob {id}")
            }
        }
    }

    /// The chunk's name for messages.
    fn name(&self, chunk: &Chunk) -> String {
        let (id, index, digest) = (self.blob_id(chunk), chunk.index, chunk.digest);
        format!("chunk {index} of blob {id} (digest {digest})")
    }
}
