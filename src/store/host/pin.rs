//! Pins: while one is held, nobody frees the chunk's space.
//!
//! A pin is a shared lock on the chunk's byte of the map's file, so it goes with
//! its process. Locks of one open file do not add up, so how many pins it has
//! of a chunk is counted here.

use std::io;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::lock::{self, Kind};
use crate::store::cache_file::CacheFile;

/// How many pins there are of each chunk.
#[derive(Default)]
pub(in crate::store) struct Pins(Mutex<HashMap<u32, usize>>);

impl Pins {
    /// Whether a chunk is pinned here.
    pub(in crate::store) fn has(&self, index: u32) -> bool {
        self.0.lock().contains_key(&index)
    }
}

/// A chunk whose space nobody frees, until dropped.
pub(in crate::store) struct Pin {
    file: Arc<CacheFile>,
    index: u32,
}

impl Pin {
    /// Pins a chunk. Whether it is there must be seen afterwards: until then it
    /// may have been evicted.
    ///
    /// # Errors
    /// `WouldBlock` when it is just being evicted; others when the system has no
    /// locks left.
    pub(in crate::store) fn new(file: &Arc<CacheFile>, index: u32) -> io::Result<Self> {
        let mut pins = file.pins().0.lock();
        let count = pins.entry(index).or_insert(0);
        if *count == 0
            && let Some(map) = file.map()
        {
            let range = lock::pins(index..index.saturating_add(1));
            let locked = lock::try_lock(map, range, Kind::Shared);
            if !matches!(locked, Ok(true)) {
                pins.remove(&index);
                locked?;
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        *count += 1;
        drop(pins);
        let file = Arc::clone(file);
        Ok(Self { file, index })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.file.pins().0.lock();
        let left = pins.get_mut(&self.index).map(|count| {
            *count -= 1;
            *count
        });
        if left == Some(0) {
            pins.remove(&self.index);
            if let Some(map) = self.file.map().filter(|_| !self.file.is_pinned_whole()) {
                lock::unlock(map, lock::pins(self.index..self.index.saturating_add(1)));
            }
        }
    }
}
