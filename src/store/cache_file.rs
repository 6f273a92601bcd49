//! The cache of one blob on disk: two files in
//! `CACHE/tidegate/v1/`.
//!
//! * `<blob id>-<16 hex digits of the layout digest>.data`: the blob's
//!   uncompressed layout, sparse; a chunk lies at its `offset`.
//! * the same with `.map`: one byte per chunk, 1 where the chunk was written.
//!   Bytes, not bits: processes that share the cache set theirs with one
//!   `pwrite` and never lose another's.
//!
//! Neither is believed. The map is a hint that saves a read and a hash, the
//! data is proved before use, and so nothing is ever synced. Neither is mapped
//! into memory: others may truncate them at any time.

#![allow(dead_code)] // The scheduler takes claims from the next step on.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashSet;
use parking_lot::Mutex;

use super::host::lock::{self, Kind};
use super::host::place;
use super::residency::Residency;
use crate::chunk::{BlobInfo, Chunk};
use crate::destination::Destination;

/// What a byte of the map says of a chunk that is there.
const RESIDENT: u8 = 1;

/// File system types that live in memory, where a read never waits for a disk
/// (`TMPFS_MAGIC` and `RAMFS_MAGIC` of Linux `magic.h`).
const MEMORY_FILE_SYSTEMS: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// The cache of one blob.
pub(super) struct CacheFile {
    data: File,
    map: Option<File>,
    resident: Residency,
    /// Chunks whose claim this file has.
    claimed: Mutex<HashSet<u32>>,
    nowait: bool,
}

impl CacheFile {
    /// Opens or creates the files of `blob` under the cache directory, or a
    /// private unnamed file when there is none.
    pub(super) fn open(cache: Option<&Path>, blob: &BlobInfo) -> io::Result<Self> {
        let (data, map) = match cache {
            None => (tempfile::tempfile()?, None),
            Some(cache) => {
                let (dir, stem) = (place::directory(cache)?, place::stem(blob));
                let open = |kind| place::open_shared(&dir.join(format!("{stem}.{kind}")));
                (open("data")?, Some(open("map")?))
            }
        };
        let nowait = can_ask_without_waiting(&data);
        Ok(Self {
            data,
            map,
            resident: Residency::new(blob.chunks),
            claimed: Mutex::default(),
            nowait,
        })
    }

    /// The data file, for reading at a chunk's offset.
    pub(super) fn data(&self) -> BorrowedFd<'_> {
        self.data.as_fd()
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
        self.map.as_ref().is_some_and(|map| {
            let mut byte = [0];
            matches!(map.read_at(&mut byte, index.into()), Ok(1)) && byte == [RESIDENT]
        })
    }

    /// The cache's copy of a chunk, not proved; `None` when it is cut short.
    pub(super) fn read(&self, chunk: &Chunk) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; usize::try_from(chunk.len).unwrap_or(0)];
        match self.data.read_exact_at(&mut bytes, chunk.offset) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a proved chunk and says that it is there.
    pub(super) fn write(&self, chunk: &Chunk, bytes: &[u8]) -> io::Result<()> {
        self.data.write_all_at(bytes, chunk.offset)?;
        self.remember(chunk.index);
        Ok(())
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
        if let Some(map) = &self.map {
            let byte = if resident { RESIDENT } else { 0 };
            // A hint that does not reach the disk costs a fetch and nothing else.
            let _ = map.write_all_at(&[byte], index.into());
        }
    }
}

/// The right to fetch and write a chunk: nobody else who shares the cache has it
/// at the same time. Given back when dropped, and when the process dies.
pub(super) struct Claim {
    file: Arc<CacheFile>,
    index: u32,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.file.claimed.lock();
        if let Some(map) = &self.file.map {
            lock::unlock(map, claim_range(self.index));
        }
        claimed.remove(&self.index);
    }
}

impl CacheFile {
    /// Tries to be the one who fetches a chunk. None: somebody else is at it, in
    /// this process or another, and the chunk will be there soon. One system
    /// call.
    pub(super) fn claim(self: &Arc<Self>, index: u32) -> Option<Claim> {
        let mut claimed = self.claimed.lock();
        // Locks of one open file do not exclude each other.
        if !claimed.insert(index) {
            return None;
        }
        let granted = self.map.as_ref().is_none_or(|map| {
            // A lock that cannot be had for lack of memory must not keep anyone
            // from fetching.
            lock::try_lock(map, claim_range(index), Kind::Exclusive).unwrap_or(true)
        });
        if !granted {
            claimed.remove(&index);
            return None;
        }
        drop(claimed);
        let file = Arc::clone(self);
        Some(Claim { file, index })
    }

    /// Whether the map says of chunks `from..from + count` that they are there.
    /// One read; what the map does not have is not there.
    pub(super) fn resident_run(&self, from: u32, count: usize) -> Vec<bool> {
        let mut bytes = vec![0; count];
        if let Some(map) = &self.map {
            // What could not be read stays 0.
            let _ = map.read_at(&mut bytes, from.into());
        }
        let known = |index: u32| self.map.is_none() && self.is_known(index);
        (from..=u32::MAX)
            .zip(bytes)
            .map(|(index, byte)| byte == RESIDENT || known(index))
            .collect()
    }

    /// Whether the chunk was seen here and is gone by now, as the map says. If
    /// so, it is forgotten here too.
    pub(super) fn was_evicted(&self, index: u32) -> bool {
        let gone = self.map.is_some() && self.is_known(index) && !self.is_mapped(index);
        if gone {
            self.resident.put(index, false);
        }
        gone
    }
}

/// The byte of the map whose lock is the claim of a chunk.
fn claim_range(index: u32) -> Range<u64> {
    let at = u64::from(index);
    at..at + 1
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
