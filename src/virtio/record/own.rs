//! The daemon's own record, for VMMs that keep none: a file with one section per
//! queue.
//!
//! A section is 64 bytes (1 while the queue runs; addresses of descriptors, available
//! and used ring; number of descriptors; each 8 bytes), the queue's record in the
//! layout of the specification, and 8 bytes per descriptor that tell its request from
//! others.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

use super::layout::{self, Entries};
use super::{Resume, Tracker};

/// Name of the file in its directory.
const NAME: &str = "requests";

const HEADER: usize = 64;

/// A ring as a VMM sets it up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RingPlace {
    /// Address of the descriptors.
    pub(crate) descriptors: u64,
    /// Address of the available ring.
    pub(crate) available: u64,
    /// Address of the used ring.
    pub(crate) used: u64,
    /// Number of descriptors.
    pub(crate) size: u16,
}

/// A ring as it is in the guest's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingState {
    /// Index of the used ring.
    pub(crate) used: u16,
    /// Index of the available ring.
    pub(crate) available: u16,
}

/// The file.
pub(crate) struct OwnRecord {
    map: Arc<MmapRegion>,
    max_size: u16,
}

impl OwnRecord {
    /// Opens the record in the directory `dir`, which must be private, for so many
    /// queues of up to `max_size` descriptors. One of another shape is emptied.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(crate) fn open(dir: &Path, queues: usize, max_size: u16) -> io::Result<Self> {
        let len = queues * section(max_size);
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join(NAME))?;
        let wanted = u64::try_from(len).unwrap_or(u64::MAX);
        if file.metadata()?.len() != wanted {
            file.set_len(0)?;
            // Blocks are had now: a write to a mapping of a full disk would end us.
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, wanted)?;
        }
        let map = MmapRegion::from_file(FileOffset::new(file, 0), len);
        Ok(Self {
            map: Arc::new(map.map_err(io::Error::other)?),
            max_size,
        })
    }

    /// The record of queue `index`, and where the ring at `place` goes on if a process
    /// that died has served it: none for a ring that is new. `request` reads the
    /// first bytes of the request at a head.
    pub(crate) fn tracker(
        &self,
        index: usize,
        place: RingPlace,
        state: RingState,
        request: impl Fn(u16) -> Option<Vec<u8>>,
    ) -> Option<(Tracker, Option<Resume>)> {
        if place.size > self.max_size {
            return None;
        }
        let at = index.checked_mul(section(self.max_size))?;
        let entries = Entries::new(&self.map, at + HEADER, place.size)?;
        let prints = Prints {
            map: Arc::clone(&self.map),
            at,
            prints: at + HEADER + layout::len(self.max_size),
        };
        let resume = prints
            .is_of(place)
            .then(|| resume(&entries, &prints, state, request))
            .flatten();
        if resume.is_none() {
            prints.end();
            entries.clear(state.used);
            prints.begin(place);
        }
        let tracker = Tracker {
            entries,
            prints: Some(prints),
        };
        Some((tracker, resume))
    }
}

/// Where the ring goes on, if the record is about what it holds.
fn resume(
    entries: &Entries,
    prints: &Prints,
    state: RingState,
    request: impl Fn(u16) -> Option<Vec<u8>>,
) -> Option<Resume> {
    // One head at a time is given back.
    if !entries.is_written() || state.used.wrapping_sub(entries.used()) > 1 {
        return None;
    }
    let resume = entries.resume(state.used);
    let taken = resume.next_avail.wrapping_sub(state.used);
    if state.available.wrapping_sub(state.used) < taken {
        return None;
    }
    let known = resume.heads.iter().all(|&head| match prints.get(head) {
        // It was taken and not looked at.
        0 => true,
        print => request(head).is_some_and(|request| fingerprint(&request) == print),
    });
    known.then_some(resume)
}

/// Bytes of a section.
fn section(max_size: u16) -> usize {
    let prints = 8 * usize::from(max_size);
    (HEADER + layout::len(max_size) + prints).next_multiple_of(64)
}

/// What tells requests and rings from others.
pub(super) struct Prints {
    map: Arc<MmapRegion>,
    at: usize,
    prints: usize,
}

impl Prints {
    pub(super) fn set(&self, head: u16, print: u64) {
        self.store(self.prints + 8 * usize::from(head), print);
    }

    fn get(&self, head: u16) -> u64 {
        self.load(self.prints + 8 * usize::from(head))
    }

    pub(super) fn end(&self) {
        self.store(self.at, 0);
    }

    fn begin(&self, place: RingPlace) {
        for (number, value) in place.fields().into_iter().enumerate() {
            self.store(self.at + 8 * (1 + number), value);
        }
        self.store(self.at, 1);
    }

    fn is_of(&self, place: RingPlace) -> bool {
        self.load(self.at) == 1
            && place
                .fields()
                .into_iter()
                .enumerate()
                .all(|(number, value)| self.load(self.at + 8 * (1 + number)) == value)
    }

    fn load(&self, at: usize) -> u64 {
        let slice = self.map.as_volatile_slice();
        slice.load(at, Ordering::Acquire).unwrap_or_default()
    }

    fn store(&self, at: usize, value: u64) {
        // Within the mapping, whose length is made of the same sum.
        let slice = self.map.as_volatile_slice();
        let _ = slice.store(value, at, Ordering::Release);
    }
}

impl RingPlace {
    fn fields(self) -> [u64; 4] {
        [
            self.descriptors,
            self.available,
            self.used,
            self.size.into(),
        ]
    }
}

/// A number that tells a request from others by its header (FUSE: length, opcode,
/// unique number, node id); never 0.
pub(super) fn fingerprint(request: &[u8]) -> u64 {
    let word = |at: usize| {
        let bytes = request.get(at..at + 8).and_then(|it| it.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    let print = word(0).rotate_left(48) ^ word(8) ^ word(16).rotate_left(24);
    print.max(1)
}
