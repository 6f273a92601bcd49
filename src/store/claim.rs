//! Who fetches a chunk, among all who share the cache.

use std::sync::Arc;

use super::cache_file::CacheFile;
use super::host::lock::{self, Kind};

/// The right to fetch and write a chunk: nobody else who shares the cache has it
/// at the same time. Given back when dropped, and when the process dies.
pub(super) struct Claim {
    file: Arc<CacheFile>,
    index: u32,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.file.claimed.lock();
        let Some(holders) = claimed.get_mut(&self.index) else {
            return;
        };
        *holders -= 1;
        if *holders == 0 {
            if let Some(map) = self.file.map() {
                lock::unlock(map, claim_range(self.index));
            }
            claimed.remove(&self.index);
        }
    }
}

impl CacheFile {
    /// Tries to be the one who fetches a chunk. None: somebody else is at it, in
    /// this process or another, and the chunk will be there soon. One system
    /// call.
    pub(super) fn claim(self: &Arc<Self>, index: u32) -> Option<Claim> {
        // Locks of one open file do not exclude each other.
        self.claim_beside(index, 0)
    }

    /// As [`CacheFile::claim`], and shares the claim that this file has already:
    /// it is given back when all are dropped.
    pub(super) fn claim_too(self: &Arc<Self>, index: u32) -> Option<Claim> {
        self.claim_beside(index, usize::MAX)
    }

    fn claim_beside(self: &Arc<Self>, index: u32, most: usize) -> Option<Claim> {
        let mut claimed = self.claimed.lock();
        let holders = claimed.get(&index).copied().unwrap_or(0);
        if holders > most {
            return None;
        }
        let granted = holders > 0
            || self.map().is_none_or(|map| {
                // A lock that cannot be had for lack of memory must not keep
                // anyone from fetching.
                lock::try_lock(map, claim_range(index), Kind::Exclusive).unwrap_or(true)
            });
        if !granted {
            return None;
        }
        claimed.insert(index, holders + 1);
        drop(claimed);
        let file = Arc::clone(self);
        Some(Claim { file, index })
    }
}

fn claim_range(index: u32) -> std::ops::Range<u64> {
    lock::claims(index..index.saturating_add(1))
}
