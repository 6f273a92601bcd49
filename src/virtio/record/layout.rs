//! The record of one queue (vhost-user specification, "Inflight I/O tracking", struct
//! `QueueRegionSplit`): 16 bytes in front,
//!
//! | at | bytes | |
//! |---|---|---|
//! | 0 | 8 | feature bits: 0 |
//! | 8 | 2 | version: 1 |
//! | 10 | 2 | number of descriptors |
//! | 12 | 2 | head that was given back last |
//! | 14 | 2 | index of the used ring when that was complete |
//!
//! and per descriptor 16: whether it is in flight (1 byte), 5 of padding, the head
//! that was given back before it (2), and a number that grows with each head taken (8).
//! Numbers are in the host's byte order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vm_memory::{AtomicAccess, Bytes, MmapRegion, VolatileMemory};

use super::Resume;

const VERSION: u16 = 1;
const VERSION_AT: usize = 8;
const COUNT_AT: usize = 10;
const LAST_AT: usize = 12;
const USED_AT: usize = 14;
const HEADER: usize = 16;
const ENTRY: usize = 16;
const NEXT_AT: usize = 6;
const COUNTER_AT: usize = 8;

/// Records begin at multiples of this.
const ALIGN: usize = 64;

/// Bytes of the record of a queue with `size` descriptors.
pub(super) fn len(size: u16) -> usize {
    (HEADER + ENTRY * usize::from(size)).next_multiple_of(ALIGN)
}

/// The record of one queue inside a mapped region.
pub(super) struct Entries {
    map: Arc<MmapRegion>,
    at: usize,
    size: u16,
    counter: AtomicU64,
}

impl Entries {
    /// The record at `at` of a mapping; none if it does not fit.
    pub(super) fn new(map: &Arc<MmapRegion>, at: usize, size: u16) -> Option<Self> {
        let end = at.checked_add(len(size))?;
        (at.is_multiple_of(8) && end <= map.len() && size > 0).then(|| Self {
            map: Arc::clone(map),
            at,
            size,
            counter: AtomicU64::new(0),
        })
    }

    /// Forgets everything; the used ring is at index `used`.
    pub(super) fn clear(&self, used: u16) {
        for head in 0..self.size {
            self.store(self.entry(head), 0u8);
        }
        self.store(0, 0u64);
        self.store(VERSION_AT, VERSION);
        self.store(COUNT_AT, self.size);
        self.store(LAST_AT, 0u16);
        self.store(USED_AT, used);
    }

    /// Whether somebody wrote a record for a queue of this size.
    pub(super) fn is_written(&self) -> bool {
        self.load::<u16>(VERSION_AT) == VERSION && self.load::<u16>(COUNT_AT) == self.size
    }

    /// Index of the used ring when the last head was given back completely.
    pub(super) fn used(&self) -> u16 {
        self.load(USED_AT)
    }

    pub(super) fn take(&self, head: u16) {
        if head >= self.size {
            return;
        }
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        let entry = self.entry(head);
        self.store(entry + COUNTER_AT, number);
        self.store(entry, 1u8);
    }

    pub(super) fn give_back(&self, head: u16) {
        if head >= self.size {
            return;
        }
        let before: u16 = self.load(LAST_AT);
        self.store(self.entry(head) + NEXT_AT, before);
        self.store(LAST_AT, head);
    }

    pub(super) fn given_back(&self, head: u16, used: u16) {
        if head < self.size {
            self.store(self.entry(head), 0u8);
        }
        self.store(USED_AT, used);
    }

    /// Finishes what a process that died was giving back, where the used ring is at
    /// index `used`, and says what is left. Numbers of heads taken go on behind
    /// those there.
    pub(super) fn resume(&self, used: u16) -> Resume {
        let unfinished = used.wrapping_sub(self.used());
        let mut head: u16 = self.load(LAST_AT);
        for _ in 0..unfinished.min(self.size) {
            if head >= self.size {
                break;
            }
            self.store(self.entry(head), 0u8);
            head = self.load(self.entry(head) + NEXT_AT);
        }
        self.store(USED_AT, used);
        let mut taken: Vec<(u64, u16)> = (0..self.size)
            .filter(|&head| self.load::<u8>(self.entry(head)) == 1)
            .map(|head| (self.load(self.entry(head) + COUNTER_AT), head))
            .collect();
        taken.sort_unstable();
        let last = taken.last().map_or(0, |&(number, _)| number);
        self.counter.store(last.wrapping_add(1), Ordering::Relaxed);
        // At most 32768 heads.
        let count = u16::try_from(taken.len()).unwrap_or(u16::MAX);
        Resume {
            next_avail: used.wrapping_add(count),
            heads: taken.into_iter().map(|(_, head)| head).collect(),
        }
    }

    fn entry(&self, head: u16) -> usize {
        HEADER + ENTRY * usize::from(head)
    }

    fn load<T: AtomicAccess + Default>(&self, at: usize) -> T {
        let slice = self.map.as_volatile_slice();
        slice
            .load(self.at + at, Ordering::Acquire)
            .unwrap_or_default()
    }

    fn store<T: AtomicAccess>(&self, at: usize, value: T) {
        // Within the mapping, as `new` saw to.
        let _ = self
            .map
            .as_volatile_slice()
            .store(value, self.at + at, Ordering::Release);
    }
}
