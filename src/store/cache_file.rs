//! The cache of one blob, as one store uses it: the files of `host::files`, or a
//! private unnamed file when there is no cache directory.
//!
//! Nothing in the files is believed. The map is a hint that saves a read and a
//! hash, the data is proved before use, and so nothing is ever synced. No file
//! is mapped into memory: others may truncate them at any time.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::Relaxed};

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::host::extents;
use super::host::files::BlobFiles;
use super::host::lock::{self, Kind};
use super::host::pin::{Pin, Pins};
use super::host::place;
use super::host::record::Record;
use super::residency::Residency;
use crate::chunk::{BlobInfo, Chunk, DigestAlgorithm};
use crate::destination::Destination;

/// File system types that live in memory, where a read never waits for a disk
/// (`TMPFS_MAGIC` and `RAMFS_MAGIC` of Linux `magic.h`).
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Where the bytes lie.
enum Place {
    /// In files that processes share.
    Shared(BlobFiles),
    /// In an unnamed file.
    Private(File),
}

/// The cache of one blob.
pub(super) struct CacheFile {
    place: Place,
    algorithm: DigestAlgorithm,
    resident: Residency,
    /// Chunks that were used since this was last written down.
    used: Residency,
    /// The epoch that uses are noted with, as it was last seen.
    epoch: Arc<AtomicU16>,
    /// Chunks whose claim this file has, and how many share it.
    pub(super) claimed: Mutex<HashMap<u32, usize>>,
    pins: Pins,
    pinned_whole: AtomicBool,
    nowait: bool,
}

impl CacheFile {
    /// Opens or creates the files of `blob` in the directory of the host's
    /// cache, or a private unnamed file when there is none.
    ///
    /// # Errors
    /// When the files cannot be opened or made.
    pub(super) fn open(
        dir: Option<&Path>,
        blob: &BlobInfo,
        epoch: Arc<AtomicU16>,
    ) -> io::Result<Self> {
        let place = match dir {
            None => Place::Private(tempfile::tempfile()?),
            Some(dir) => Place::Shared(BlobFiles::open(
                dir,
                place::stem(blob),
                blob.chunks,
                blob.uncompressed_size,
            )?),
        };
        let mut it = Self {
            place,
            algorithm: blob.algorithm,
            resident: Residency::new(blob.chunks),
            used: Residency::new(blob.chunks),
            epoch,
            claimed: Mutex::default(),
            pins: Pins::default(),
            pinned_whole: AtomicBool::new(false),
            nowait: true,
        };
        it.nowait = can_ask_without_waiting(it.data_file());
        Ok(it)
    }

    /// The data file, for reading at a chunk's offset.
    pub(super) fn data(&self) -> BorrowedFd<'_> {
        self.data_file().as_fd()
    }

    pub(super) fn data_file(&self) -> &File {
        match &self.place {
            Place::Shared(files) => &files.data,
            Place::Private(data) => data,
        }
    }

    /// The files that are shared with other processes.
    pub(super) fn shared(&self) -> Option<&BlobFiles> {
        match &self.place {
            Place::Shared(files) => Some(files),
            Place::Private(_) => None,
        }
    }

    /// The file whose locks are claims and pins.
    pub(super) fn map(&self) -> Option<&File> {
        self.shared().map(|files| &files.map)
    }

    /// The algorithm of the blob's digests.
    pub(super) fn algorithm(&self) -> DigestAlgorithm {
        self.algorithm
    }

    /// Whether reads of the hit path must say `nowait` (all but those from
    /// memory file systems, which do not know it and do not wait).
    pub(super) fn nowait(&self) -> bool {
        self.nowait
    }

    /// Whether this process has seen the chunk in the cache. No I/O.
    pub(super) fn is_known(&self, index: u32) -> bool {
        self.resident.get(index)
    }

    /// Whether this process or the map says that the chunk is in the cache.
    pub(super) fn is_resident(&self, index: u32) -> bool {
        self.is_known(index) || self.is_mapped(index)
    }

    /// Whether the map says that the chunk is in the cache.
    fn is_mapped(&self, index: u32) -> bool {
        self.resident_run(index, 1) == [true]
    }

    /// Whether the map says of chunks `from..from + count` that they are there.
    /// One read; what the map does not have is not there.
    pub(super) fn resident_run(&self, from: u32, count: usize) -> Vec<bool> {
        let end = u32::try_from(count).map_or(u32::MAX, |count| from.saturating_add(count));
        match self.shared() {
            Some(files) => files.resident(from..end.min(files.chunks().max(from))),
            None => (from..end).map(|index| self.is_known(index)).collect(),
        }
    }

    /// Whether the map says that the chunk is not there. If so, it is forgotten
    /// here too: who saw its copy fail saw an eviction, not damage.
    pub(super) fn was_evicted(&self, index: u32) -> bool {
        let gone = self.shared().is_some() && !self.is_mapped(index);
        if gone {
            self.resident.put(index, false);
        }
        gone
    }

    /// The cache's copy of a chunk, not proved; `None` when it is cut short.
    pub(super) fn read(&self, chunk: &Chunk) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; usize::try_from(chunk.len).unwrap_or(0)];
        match self.data_file().read_exact_at(&mut bytes, chunk.offset) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a proved chunk and says that it is there. Who shares the cache
    /// holds the claim meanwhile.
    ///
    /// # Errors
    /// When a file cannot be written; then it is not said to be there.
    pub(super) fn write(&self, chunk: &Chunk, bytes: &[u8]) -> io::Result<()> {
        self.note(chunk)?;
        self.data_file().write_all_at(bytes, chunk.offset)?;
        self.remember(chunk.index);
        Ok(())
    }

    /// As [`CacheFile::write`] when all but the last bytes of the chunk, from
    /// `from` on, have got there in another way.
    ///
    /// # Errors
    /// As that.
    pub(super) fn write_rest(&self, chunk: &Chunk, from: u64, bytes: &[u8]) -> io::Result<()> {
        let at = chunk.offset.saturating_add(from);
        self.data_file().write_all_at(bytes, at)?;
        self.remember(chunk.index);
        Ok(())
    }

    /// Frees the space of a chunk that could not be written whole.
    pub(super) fn discard(&self, chunk: &Chunk) {
        self.forget(chunk.index);
        // With pins on it, or failing, it is freed with what nobody takes.
        let range = chunk.offset
            ..chunk
                .offset
                .saturating_add(super::host::record::space(chunk.len));
        let pins = lock::pins(chunk.index..chunk.index.saturating_add(1));
        if self.is_pinned_whole() || self.pins.has(chunk.index) {
            return;
        }
        let alone = |map| lock::try_lock(map, pins.clone(), Kind::Exclusive);
        if !self.map().is_none_or(|map| matches!(alone(map), Ok(true))) {
            return;
        }
        let _ = extents::punch(self.data_file(), range);
        if let Some(map) = self.map() {
            lock::unlock(map, pins);
        }
    }

    /// Writes down what the chunk is and that it is in use now, which comes
    /// before its data: space that no record names is free to be taken.
    pub(super) fn note(&self, chunk: &Chunk) -> io::Result<()> {
        let Some(files) = self.shared() else {
            return Ok(());
        };
        files.put_record(chunk.index, &Record::of(self.algorithm, chunk))?;
        let run = chunk.index..chunk.index.saturating_add(1);
        files.used(run, self.epoch.load(Relaxed))
    }

    /// Says that a chunk is there.
    pub(super) fn remember(&self, index: u32) {
        self.mark(index, true);
    }

    /// Says that a chunk is not there.
    pub(super) fn forget(&self, index: u32) {
        self.mark(index, false);
    }

    fn mark(&self, index: u32, resident: bool) {
        self.resident.put(index, resident);
        if let Some(files) = self.shared() {
            // A hint that does not reach the disk costs a fetch and nothing else.
            let _ = files.mark(index..index.saturating_add(1), resident);
        }
    }

    /// Notes that a chunk was used: a load, and a store the first time.
    pub(super) fn touch(&self, index: u32) {
        if !self.used.get(index) {
            self.used.put(index, true);
        }
    }

    /// Writes down which chunks were used since the last time. True: some were.
    pub(super) fn write_uses(&self, epoch: u16) -> bool {
        let runs = self.used.take();
        if let Some(files) = self.shared() {
            for run in &runs {
                // Lost uses make a chunk look older than it is.
                let _ = files.used(run.clone(), epoch);
            }
        }
        !runs.is_empty()
    }

    /// Keeps a chunk from being evicted.
    ///
    /// # Errors
    /// As [`Pin::new`].
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "mapping chunks into guests is to come")
    )]
    pub(super) fn pin(self: &Arc<Self>, index: u32) -> io::Result<Pin> {
        Pin::new(self, index)
    }

    /// Keeps all chunks of the blob from being evicted, as long as the file is
    /// open: for stores that believe the cache.
    ///
    /// # Errors
    /// `WouldBlock` when one is just being evicted; others when the system has no
    /// locks left.
    pub(super) fn pin_whole(&self) -> io::Result<()> {
        if let Some(files) = self.shared() {
            let range = lock::pins(0..u32::MAX);
            if !lock::lock_soon(&files.map, range, Kind::Shared)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.pinned_whole.store(true, Relaxed);
        }
        Ok(())
    }

    pub(super) fn is_pinned_whole(&self) -> bool {
        self.pinned_whole.load(Relaxed)
    }

    pub(super) fn pins(&self) -> &Pins {
        &self.pins
    }
}

/// Whether `nowait` reads are to be used on a file. Where the file system does
/// not know them, only one that lives in memory is read without; on others
/// each hit takes the slow path, which is right but slow, so it is said.
fn can_ask_without_waiting(file: &File) -> bool {
    let mut byte = [0];
    let tried = Destination::from_slice(&mut byte).read_from(0, 1, file.as_fd(), 0, true);
    if !tried.is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP)) {
        return true;
    }
    let kind = rustix::fs::fstatfs(file)
        .ok()
        .and_then(|stat| u64::try_from(stat.f_type).ok());
    if kind.is_some_and(|kind| MEMORY_FILE_SYSTEMS.contains(&kind)) {
        return false;
    }
    log::warn!(
        "The cache's file system cannot read without waiting (RWF_NOWAIT): \
         put the cache on ext4, XFS, btrfs or tmpfs for fast hits"
    );
    true
}
