//! The log of pages that the device has written, for a VMM that moves its guest while
//! it runs (vhost-user specification, "Migration"): one bit per 4 KiB page of guest
//! memory, least significant first.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use vhost::vhost_user::message::VhostUserLog;
use virtio_queue::{Queue, QueueT};
use vm_memory::{FileOffset, MmapRegion, VolatileMemory};

use super::chain::Range;
use crate::fuse::{MAX_READ, REPLY_HEADER_LEN};

const PAGE: u64 = 4096;

/// No reply has more bytes.
const LONGEST: u64 = MAX_READ as u64 + REPLY_HEADER_LEN as u64;

/// Pages of a byte.
const PAGES: u64 = 8;

/// The VMM's log.
pub(super) struct DirtyLog(MmapRegion);

impl DirtyLog {
    /// Maps the log.
    ///
    /// # Errors
    /// When the file is shorter than the VMM says, or cannot be mapped.
    pub(super) fn new(told: &VhostUserLog, file: File) -> io::Result<Self> {
        let short = || io::Error::new(io::ErrorKind::InvalidInput, "the file is too short");
        let end = told.mmap_offset.checked_add(told.mmap_size);
        let len = usize::try_from(told.mmap_size).map_err(|_| short())?;
        if len == 0 || end.is_none_or(|end| file.metadata().map_or(true, |it| it.len() < end)) {
            return Err(short());
        }
        let map = MmapRegion::from_file(FileOffset::new(file, told.mmap_offset), len);
        map.map(Self).map_err(io::Error::other)
    }

    /// Marks the pages of `len` bytes at a guest address.
    pub(super) fn mark(&self, address: u64, len: u64) {
        let Some(last) = len.checked_sub(1).and_then(|len| address.checked_add(len)) else {
            return;
        };
        let map = self.0.as_volatile_slice();
        for page in address / PAGE..=last / PAGE {
            let Ok(at) = usize::try_from(page / PAGES) else {
                return;
            };
            // Memory that the log does not cover is none of the guest's.
            let Ok(byte) = map.get_atomic_ref::<AtomicU8>(at) else {
                return;
            };
            byte.fetch_or(1 << (page % PAGES), Ordering::SeqCst);
        }
    }

    /// Marks the pages of some ranges, as far as the longest reply goes.
    pub(super) fn mark_ranges(&self, ranges: &[Range]) {
        let mut left = LONGEST;
        for &(address, len) in ranges {
            let here = left.min(len.into());
            self.mark(address.0, here);
            left -= here;
        }
    }

    /// Marks the pages of a used ring: 4 bytes, 8 per descriptor, and 2 at the end.
    pub(super) fn mark_used_ring(&self, queue: &Queue) {
        self.mark(queue.used_ring(), 6 + 8 * u64::from(queue.size()));
    }
}
