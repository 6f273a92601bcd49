//! A record that the VMM keeps (GET_INFLIGHT_FD and SET_INFLIGHT_FD).

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use vhost::vhost_user::message::VhostUserInflight;
use vm_memory::{FileOffset, MmapRegion};

use super::layout::{self, Entries};
use super::own::RingState;
use super::{Resume, Tracker};

/// A mapped region with one record per queue.
pub(crate) struct SharedRecord {
    map: Arc<MmapRegion>,
    queues: u16,
    size: u16,
}

impl SharedRecord {
    /// Makes an empty region for so many queues of so many descriptors, and what the
    /// VMM is told of it.
    ///
    /// # Errors
    /// When the system has no memory left.
    pub(crate) fn make(queues: u16, size: u16) -> io::Result<(VhostUserInflight, File)> {
        let len = layout::len(size) * usize::from(queues);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("tidegate-inflight", flags)?;
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        rustix::fs::ftruncate(&fd, len)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::GROW | SealFlags::SHRINK)?;
        Ok((VhostUserInflight::new(len, 0, queues, size), fd.into()))
    }

    /// Takes over a region.
    ///
    /// # Errors
    /// When it is not what the VMM says, or may be cut short under us.
    pub(crate) fn take_over(told: &VhostUserInflight, file: File) -> io::Result<Self> {
        let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let len = layout::len(told.queue_size) * usize::from(told.num_queues);
        let told_len = usize::try_from(told.mmap_size).unwrap_or(usize::MAX);
        if told_len < len || told.queue_size > 32768 {
            return Err(refused("the region is too small for its queues"));
        }
        let end = told.mmap_offset.checked_add(told.mmap_size);
        if end.is_none_or(|end| file.metadata().map_or(true, |file| file.len() < end)) {
            return Err(refused("the file is shorter than the region"));
        }
        // A file that shrinks while it is mapped would end this process.
        let seals = rustix::fs::fcntl_get_seals(&file)?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(refused("the file is not sealed against shrinking"));
        }
        let map = MmapRegion::from_file(FileOffset::new(file, told.mmap_offset), len);
        let map = map.map_err(io::Error::other)?;
        Ok(Self {
            map: Arc::new(map),
            queues: told.num_queues,
            size: told.queue_size,
        })
    }

    /// The record of queue `index`, which has `size` descriptors; none when the
    /// region was made for another.
    pub(crate) fn tracker(&self, index: usize, size: u16) -> Option<Tracker> {
        if index >= usize::from(self.queues) || size > self.size {
            return None;
        }
        let entries = Entries::new(&self.map, index * layout::len(self.size), self.size)?;
        Some(Tracker {
            entries,
            prints: None,
        })
    }
}

impl Tracker {
    /// Where a ring goes on. A record of more than the guest has put into its ring is
    /// about a ring that is no more, and counts for nothing.
    pub(crate) fn resume_shared(&self, ring: RingState) -> Resume {
        if !self.entries.is_written() {
            self.entries.clear(ring.used);
        }
        let resume = self.entries.resume(ring.used);
        let taken = resume.next_avail.wrapping_sub(ring.used);
        if ring.available.wrapping_sub(ring.used) >= taken {
            return resume;
        }
        self.entries.clear(ring.used);
        self.entries.resume(ring.used)
    }
}
