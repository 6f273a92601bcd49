//! The host's cache: what the daemons of one host keep together in a directory.
//!
//! Nothing in it is believed. It may lose bytes, keep wrong ones and lie about
//! what it has; that costs fetches and never changes what a reader gets.
//! `docs/cache.md` has the layout, the locks and the reasons.
//!
//! * `place` names the files, `files` are those of one blob, `record` what is
//!   written down about a chunk, `extents` and `reflink` what file systems can do.
//! * `lock` and `pin` say who may do what at once.
//! * `usage` counts against the limit, in `figures`, `evict` and `free` make room, `recency`
//!   notes what is used.
//! * `index` and `elsewhere` find chunks in other images' caches.
//! * `admin` looks after a directory from outside: `tidegate cache`.
//!
//! May use: `chunk`, and the `cache_file` of a blob. Used by: `store`, and `cli`
//! through `admin`.

mod admin;
mod elsewhere;
mod evict;
pub(super) mod extents;
mod figures;
pub(super) mod files;
mod free;
mod index;
mod keep;
pub(super) mod lock;
pub(super) mod pin;
pub(super) mod place;
mod recency;
pub(super) mod record;
mod reflink;
mod usage;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use self::elsewhere::{Elsewhere, Found};
use self::keep::Outage;
use self::recency::Recency;
use self::usage::Usage;
use super::cache_file::CacheFile;
use super::{StoreConfig, Verify};
use crate::chunk::{BlobInfo, Chunk, DigestAlgorithm};

pub use self::admin::{
    BadChunk, BlobReport, CacheDirectory, CacheError, GcOptions, GcReport, StatReport, VerifyReport,
};
pub(super) use self::keep::Kept;

/// One store's view of the host's cache.
pub(super) struct HostCache {
    cache: Option<PathBuf>,
    limit: Option<u64>,
    believes: bool,
    /// What is there once the directory could be opened.
    opened: OnceLock<Opened>,
    /// Held while it is opened.
    opening: Mutex<()>,
    outage: Outage,
    epoch: Arc<AtomicU16>,
}

/// How much a cache directory holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheFigures {
    /// Bytes on the disk and bytes promised to writers, of all images; none
    /// while nobody has a limit.
    pub used: Option<u64>,
    /// Bytes that this process evicted.
    pub evicted: u64,
}

/// The parts of a directory that all blobs share.
struct Opened {
    dir: PathBuf,
    usage: Arc<Usage>,
    elsewhere: Option<Elsewhere>,
    recency: Recency,
    /// Bytes that this process evicted.
    evicted: AtomicU64,
}

impl HostCache {
    /// The cache that the settings name. Opens nothing.
    pub(super) fn new(config: &StoreConfig) -> Self {
        if let (None, Some(limit)) = (&config.cache, config.cache_limit) {
            log::warn!("Without a cache directory its limit of {limit} bytes means nothing");
        }
        Self {
            cache: config.cache.clone(),
            limit: config.cache_limit,
            believes: config.verify != Verify::Always,
            opened: OnceLock::new(),
            opening: Mutex::new(()),
            outage: Outage::new(config.cache_retry),
            epoch: Arc::new(AtomicU16::new(1)),
        }
    }

    /// Opens the cache of a blob.
    ///
    /// # Errors
    /// When its files cannot be opened or made.
    pub(super) fn blob(&self, blob: &BlobInfo) -> io::Result<Arc<CacheFile>> {
        let opened = self.open()?;
        // What nothing proves is not shared.
        let opened = opened.filter(|_| blob.packing.form.has_digests());
        let dir = opened.map(|opened| opened.dir.as_path());
        let file = Arc::new(CacheFile::open(dir, blob, Arc::clone(&self.epoch))?);
        if self.believes {
            // Who does not prove what it reads must not read what was evicted.
            file.pin_whole()?;
        }
        if let Some(opened) = opened {
            opened.recency.add(&file);
        }
        Ok(file)
    }

    /// How much the directory holds, once it was opened.
    pub(super) fn figures(&self) -> Option<CacheFigures> {
        let opened = self.opened.get()?;
        Some(CacheFigures {
            used: opened.usage.get().map(|figures| figures.used),
            evicted: opened.evicted.load(Relaxed),
        })
    }

    /// Bytes of a chunk that another blob's cache on this host has. Nobody has
    /// proved them.
    pub(super) fn elsewhere(&self, file: &CacheFile, chunk: &Chunk) -> Option<Found> {
        let stem = &file.shared()?.stem;
        let elsewhere = self.opened.get()?.elsewhere.as_ref()?;
        elsewhere.find(file.algorithm(), chunk, stem)
    }

    /// Whether another blob's cache on this host seems to have a chunk.
    pub(super) fn is_elsewhere(&self, file: &CacheFile, chunk: &Chunk) -> bool {
        let elsewhere = self.opened.get().and_then(|it| it.elsewhere.as_ref());
        elsewhere.is_some_and(|elsewhere| elsewhere.has(file.algorithm(), chunk))
    }

    /// Notes in the host's index that the chunk is in this file.
    fn learned(&self, algorithm: DigestAlgorithm, chunk: &Chunk, file: &CacheFile) {
        let elsewhere = self.opened.get().and_then(|it| it.elsewhere.as_ref());
        if let (Some(elsewhere), Some(files)) = (elsewhere, file.shared()) {
            elsewhere.learn(algorithm, chunk, &files.stem);
        }
    }

    /// The shared parts of the directory; none without one.
    fn open(&self) -> io::Result<Option<&Opened>> {
        let Some(cache) = &self.cache else {
            return Ok(None);
        };
        if let Some(opened) = self.opened.get() {
            return Ok(Some(opened));
        }
        let _one_at_a_time = self.opening.lock();
        if let Some(opened) = self.opened.get() {
            return Ok(Some(opened));
        }
        let opened = Opened::new(cache, &self.epoch)?;
        if self.limit.is_some() {
            opened.usage.measure()?;
        }
        Ok(Some(self.opened.get_or_init(|| opened)))
    }
}

impl Opened {
    fn new(cache: &Path, epoch: &Arc<AtomicU16>) -> io::Result<Self> {
        let dir = place::directory(cache)?;
        let usage = Arc::new(Usage::open(&dir, Arc::clone(epoch))?);
        usage.epoch();
        let elsewhere = Elsewhere::open(dir.clone());
        let elsewhere = elsewhere.inspect_err(|error| {
            let dir = dir.display();
            log::warn!("Cannot open the chunk index in {dir}: {error}; going without");
        });
        Ok(Self {
            evicted: AtomicU64::new(0),
            recency: Recency::start(&usage),
            elsewhere: elsewhere.ok(),
            usage,
            dir,
        })
    }
}
