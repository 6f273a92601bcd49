//! A store over the blobs of an image.

use std::sync::{Arc, OnceLock, Weak};

use super::counters::Counters;
use super::fetch::Fetcher;
use super::host::HostCache;
use super::spare::Spare;
use super::tables::BlobTables;
use super::tags::TagCache;
use super::{Blob, Store, StoreConfig, StoreError, Verify};
use crate::backend::Backend;
use crate::backend::sources::Sources;
use crate::chunk::{BlobInfo, is_blob_name};
use crate::log_limit::LogLimit;
use crate::records::{ChunkRecords, NoRecords};

impl Store {
    /// A store with one source, which fetches each chunk for itself.
    ///
    /// # Errors
    /// As [`Store::open_with`].
    pub fn open(
        config: StoreConfig,
        backend: Arc<dyn Backend>,
        blobs: Vec<BlobInfo>,
    ) -> Result<Arc<Self>, StoreError> {
        let sources = Sources::single(backend);
        Self::open_with(config, sources, blobs, Arc::new(NoRecords))
    }

    /// A store over the blobs of one image, in the order of its blob table;
    /// `records` tells the neighbours of a chunk. Opens no file and starts no
    /// thread.
    ///
    /// # Errors
    /// When a blob has a name that is none, nothing of it can be proved and that
    /// is not allowed, or the system has no random bytes.
    pub fn open_with(
        config: StoreConfig,
        sources: Sources,
        blobs: Vec<BlobInfo>,
        records: Arc<dyn ChunkRecords>,
    ) -> Result<Arc<Self>, StoreError> {
        let count = blobs.len();
        if count > usize::from(u16::MAX) + 1 {
            return Err(StoreError::TooManyBlobs { count });
        }
        let mut ids = blobs.iter().map(|blob| &blob.id);
        if let Some(bad) = ids.find(|id| !is_blob_name(id.as_bytes())) {
            let id = bad.clone();
            return Err(StoreError::BadBlob { id });
        }
        let unproved = |blob: &&BlobInfo| !blob.packing.form.has_digests();
        if config.verify != Verify::Off
            && !config.allow_unverified
            && let Some(blob) = blobs.iter().find(unproved)
        {
            let id = blob.id.clone();
            return Err(StoreError::NoDigests { id });
        }
        let blobs = blobs.into_iter().map(|info| Blob {
            info,
            file: OnceLock::new(),
            tables: BlobTables::default(),
        });
        let tags = TagCache::new(config.tag_budget)?;
        Ok(Arc::new_cyclic(|me| Self {
            tags,
            host: HostCache::new(&config),
            config,
            sources,
            records,
            blobs: blobs.collect(),
            flights: Arc::default(),
            fetcher: Fetcher::default(),
            me: Weak::clone(me),
            bounds: OnceLock::new(),
            spare: Spare::default(),
            counters: Counters::default(),
            failures: LogLimit::new(),
            damages: LogLimit::new(),
            quarantines: LogLimit::new(),
        }))
    }
}
