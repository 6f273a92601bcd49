//! Keeping a proved chunk: within the limit, on a disk that may be full.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::elsewhere::Found;
use super::usage::Promise;
use super::{HostCache, Opened, evict, record, reflink};
use crate::chunk::Chunk;
use crate::store::cache_file::CacheFile;

/// What a chunk costs beside its data: its part of the map, the table, the index
/// and the file system's own blocks.
const OVERHEAD: u64 = 128;

/// How long others' evictions are waited for.
const PATIENCE: Duration = Duration::from_millis(250);

/// What became of a chunk that was to be kept.
#[derive(Debug)]
pub(in crate::store) enum Kept {
    /// It is in the cache.
    Stored,
    /// The cache has no place for it now; that is no failure.
    NoRoom,
    /// The cache could not be written, which was said.
    Failed,
}

/// Whether there is room for a chunk.
enum Room<'a> {
    /// There is, for who holds this if there is a limit.
    Given(Option<Promise<'a>>),
    /// There is none.
    Full,
}

/// A cache that cannot be written: said once, and tried again after a pause.
#[derive(Debug)]
pub(super) struct Outage {
    pause: Duration,
    until: Mutex<Option<Instant>>,
    /// Nothing could be evicted: no use in looking again until then.
    stuck: Mutex<Option<Instant>>,
}

impl Outage {
    pub(super) fn new(pause: Duration) -> Self {
        Self {
            pause,
            until: Mutex::new(None),
            stuck: Mutex::new(None),
        }
    }
}

impl HostCache {
    /// Whether the cache failed a moment ago and is to be left alone.
    pub(in crate::store) fn rests(&self) -> bool {
        is_ahead(*self.outage.until.lock())
    }

    /// Notes that the cache works.
    pub(in crate::store) fn works(&self) {
        if self.outage.until.lock().take().is_some() {
            log::info!("The cache in {} can be written again", self.describe());
        }
    }

    /// Notes that the cache could not be opened or written, and leaves it alone
    /// for a while.
    pub(in crate::store) fn failed(&self, error: &io::Error) {
        let until = Instant::now() + self.outage.pause;
        if self.outage.until.lock().replace(until).is_none() {
            let place = self.describe();
            log::error!(
                "Cannot keep chunks in {place}: {error}; serving from memory until it works"
            );
        }
    }

    fn describe(&self) -> String {
        let dir = self.cache.as_deref();
        dir.map_or("a temporary file".into(), |dir| dir.display().to_string())
    }

    /// Writes a proved chunk to the cache, if there is room or room can be made.
    /// May wait for the disk.
    pub(in crate::store) fn keep(
        &self,
        file: &Arc<CacheFile>,
        chunk: &Chunk,
        bytes: &[u8],
    ) -> Kept {
        self.keep_by(file, chunk, || file.write(chunk, bytes))
    }

    /// As [`HostCache::keep`] for bytes that were found in another blob's cache,
    /// whose blocks are shared if the file system can.
    pub(in crate::store) fn keep_found(
        &self,
        file: &Arc<CacheFile>,
        chunk: &Chunk,
        found: &Found,
    ) -> Kept {
        self.keep_by(file, chunk, || {
            let whole = u64::from(chunk.len) & !(record::BLOCK - 1);
            let shared = file.shared().is_some_and(|files| {
                let source = found.held.data();
                let share = reflink::share(source, found.offset, &files.data, chunk.offset, whole);
                whole > 0 && file.note(chunk).is_ok() && share.is_ok()
            });
            if !shared {
                return file.write(chunk, &found.bytes);
            }
            let rest = usize::try_from(whole).ok();
            let rest = rest.and_then(|whole| found.bytes.get(whole..));
            file.write_rest(chunk, whole, rest.unwrap_or_default())
        })
    }

    fn keep_by(
        &self,
        file: &Arc<CacheFile>,
        chunk: &Chunk,
        write: impl FnOnce() -> io::Result<()>,
    ) -> Kept {
        if self.rests() {
            return Kept::NoRoom;
        }
        // Who frees space must not do it under our hands.
        let Some(_claim) = file.claim_too(chunk.index) else {
            return Kept::NoRoom;
        };
        let _promise = match self.room(file, chunk) {
            Ok(Room::Given(promise)) => promise,
            Ok(Room::Full) => return Kept::NoRoom,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Kept::NoRoom,
            Err(error) => {
                self.failed(&error);
                return Kept::Failed;
            }
        };
        match write() {
            Ok(()) => {
                self.works();
                self.learned(file.algorithm(), chunk, file);
                Kept::Stored
            }
            Err(error) => {
                file.discard(chunk);
                if let (Some(_), Some(opened)) = (self.limit, self.opened.get()) {
                    opened.usage.credit(record::space(chunk.len) + OVERHEAD);
                }
                self.failed(&error);
                Kept::Failed
            }
        }
    }

    /// Takes the chunk's space from what the limit leaves; evicts if it must.
    fn room(&self, file: &CacheFile, chunk: &Chunk) -> io::Result<Room<'_>> {
        let (Some(limit), Some(opened)) = (self.limit, self.opened.get()) else {
            return Ok(Room::Given(None));
        };
        if file.shared().is_none() {
            return Ok(Room::Given(None));
        }
        // File systems take a little more than what is written.
        let limit = limit - limit / 64;
        let space = record::space(chunk.len) + OVERHEAD;
        let start = Instant::now();
        loop {
            if space > limit || is_ahead(*self.outage.stuck.lock()) {
                return Ok(Room::Full);
            }
            if let Some(promise) = opened.usage.charge(space, limit)? {
                return Ok(Room::Given(Some(promise)));
            }
            let Some(_right) = opened.usage.try_evicting() else {
                if start.elapsed() > PATIENCE {
                    return Ok(Room::Full);
                }
                std::thread::sleep(Duration::from_millis(1));
                continue;
            };
            if !opened.make_room(limit, space)? {
                *self.outage.stuck.lock() = Some(Instant::now() + Duration::from_secs(1));
                return Ok(Room::Full);
            }
        }
    }
}

impl Opened {
    /// Evicts until `space` fits under the limit, and some more. False: nothing
    /// could be evicted.
    fn make_room(&self, limit: u64, space: u64) -> io::Result<bool> {
        let used = self.usage.measure()?;
        if used.saturating_add(space) <= limit {
            return Ok(true);
        }
        self.recency.flush();
        let goal = (limit - limit / 16).saturating_sub(space);
        let wanted = used.saturating_sub(goal);
        let epoch = self.usage.change(|figures| {
            figures.advance();
            figures.epoch
        })?;
        let freed = evict::evict(&self.dir, epoch, wanted, |bytes| self.usage.credit(bytes))?;
        self.evicted.fetch_add(freed, Relaxed);
        log::debug!(
            "Evicted {freed} bytes of {wanted} from {}",
            self.dir.display()
        );
        Ok(freed > 0)
    }
}

fn is_ahead(at: Option<Instant>) -> bool {
    at.is_some_and(|at| Instant::now() < at)
}
