//! The host's cache: what the daemons of one host keep together in a directory.
//!
//! Nothing in it is believed. It may lose bytes, keep wrong ones and lie about
//! what it has; that costs fetches and never changes what a reader gets.
//!
//! * `place` says where files lie, `lock` who may do what at once.
//!
//! May use: `chunk`. Used by: `store`.

pub(super) mod lock;
pub(super) mod place;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::StoreConfig;
use super::cache_file::CacheFile;
use crate::chunk::BlobInfo;

/// One store's view of the host's cache.
#[derive(Debug)]
pub(super) struct HostCache {
    cache: Option<PathBuf>,
}

impl HostCache {
    /// The cache that the settings name. Opens nothing.
    pub(super) fn new(config: &StoreConfig) -> Self {
        let cache = config.cache.clone();
        Self { cache }
    }

    /// Opens the cache of a blob.
    ///
    /// # Errors
    /// When its files cannot be opened or made.
    pub(super) fn blob(&self, blob: &BlobInfo) -> io::Result<Arc<CacheFile>> {
        CacheFile::open(self.cache.as_deref(), blob).map(Arc::new)
    }
}
