//! A table in a file: records of one length, each written at its place.
//!
//! ```text
//! 0     magic, length of a record (u32), reserved numbers (u64 at 16)
//! 4096  records; one whose first 8 bytes are 0 is free
//! ```
//!
//! Lengths divide a page, so that no record lies across two: what a signal cuts
//! short is a write of several pages, never one within a page. All numbers are
//! little-endian.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use parking_lot::Mutex;

use super::StateError;
use super::dir::private;
use crate::log_limit::LogLimit;

const MAGIC: [u8; 8] = *b"TDGSLOT1";
const PAGE: usize = 4096;

/// Where the number is that [`Slots::reserve`] raises.
const RESERVED: u64 = 16;

/// Most records of a table; what a guest holds beyond is not written down.
const MOST: u32 = 1 << 24;

/// Writes that failed, in the whole process.
static FAILURES: LogLimit = LogLimit::new();

/// How many changes could not be written down.
pub fn failures() -> u64 {
    FAILURES.total()
}

/// The place of a record; [`Slot::NONE`] for one that has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(u32);

impl Slot {
    /// No place: what is written there goes nowhere.
    pub const NONE: Self = Self(u32::MAX);
}

/// A table that was there.
#[derive(Debug, Default)]
pub struct Saved {
    /// Records that are not free, with their places.
    pub records: Vec<(Slot, Vec<u8>)>,
    /// The number that was reserved last; 0 if none was.
    pub reserved: u64,
}

/// A table in a file. What cannot be written is said in the log and not written:
/// the guest goes on, and only what it holds then is lost with the process.
#[derive(Debug)]
pub struct Slots {
    file: File,
    len: usize,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    /// Places that were given back.
    slots: Vec<u32>,
    /// The first place that was never used.
    end: u32,
}

impl Slots {
    /// Opens the table at `path` of records of `len` bytes, or makes an empty one.
    ///
    /// # Errors
    /// When it cannot be read or written, or holds something else.
    pub fn open(path: &Path, len: usize) -> Result<(Self, Saved), StateError> {
        debug_assert!(len >= 8 && PAGE.is_multiple_of(len));
        let failed = |source: io::Error| StateError::failed(path, source);
        let mut options = private();
        let file = options.read(true).create(true).truncate(false).open(path);
        let file = file.map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let slots = Self {
            file,
            len,
            free: Mutex::default(),
        };
        if bytes < PAGE as u64 {
            // New, or a daemon that died before it wrote anything.
            slots.begin().map_err(failed)?;
            return Ok((slots, Saved::default()));
        }
        let saved = slots.load(bytes).map_err(failed)?;
        let saved = saved.map_err(|reason| StateError::Foreign {
            path: path.to_owned(),
            reason,
        })?;
        Ok((slots, saved))
    }

    fn begin(&self) -> io::Result<()> {
        let mut header = vec![0; PAGE];
        header[..8].copy_from_slice(&MAGIC);
        let len = u32::try_from(self.len).unwrap_or(u32::MAX);
        header[8..12].copy_from_slice(&len.to_le_bytes());
        self.file.set_len(0)?;
        self.file.write_all_at(&header, 0)
    }

    fn load(&self, bytes: u64) -> io::Result<Result<Saved, String>> {
        let mut header = [0; 24];
        self.file.read_exact_at(&mut header, 0)?;
        let len = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if header[..8] != MAGIC || usize::try_from(len) != Ok(self.len) {
            return Ok(Err("its head is that of another table".to_owned()));
        }
        let end = (bytes - PAGE as u64).div_ceil(self.len as u64);
        let Some(end) = u32::try_from(end).ok().filter(|&end| end <= MOST) else {
            return Ok(Err(format!("it has {end} records")));
        };
        let mut saved = Saved {
            reserved: number(&header[16..]),
            ..Saved::default()
        };
        let mut free = self.free.lock();
        free.end = end;
        let mut page = vec![0; PAGE];
        let mut at = 0;
        while at < end {
            page.fill(0);
            let read = self.read_page(self.offset(at), &mut page)?;
            debug_assert!(read <= PAGE);
            for record in page.chunks_exact(self.len) {
                if at == end {
                    break;
                }
                match number(record) {
                    0 => free.slots.push(at),
                    _ => saved.records.push((Slot(at), record.to_vec())),
                }
                at += 1;
            }
        }
        Ok(Ok(saved))
    }

    /// Reads up to a page; the last one may be shorter.
    fn read_page(&self, offset: u64, page: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < page.len() {
            match self.file.read_at(&mut page[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn offset(&self, slot: u32) -> u64 {
        PAGE as u64 + u64::from(slot) * self.len as u64
    }

    /// Writes a new record, whose first 8 bytes are not 0, at a free place.
    pub fn add(&self, record: &[u8]) -> Slot {
        debug_assert!(record.len() <= self.len && number(record) != 0);
        let slot = {
            let mut free = self.free.lock();
            match free.slots.pop() {
                Some(slot) => slot,
                None if free.end < MOST => {
                    free.end += 1;
                    free.end - 1
                }
                None => return Slot::NONE,
            }
        };
        if self.write(self.offset(slot), record) {
            return Slot(slot);
        }
        self.free.lock().slots.push(slot);
        Slot::NONE
    }

    /// Writes `bytes` into a record from byte `at` on.
    pub fn put(&self, slot: Slot, at: usize, bytes: &[u8]) {
        debug_assert!(at + bytes.len() <= self.len);
        if slot != Slot::NONE {
            self.write(self.offset(slot.0) + at as u64, bytes);
        }
    }

    /// Reads a record back.
    pub fn get(&self, slot: Slot) -> Option<Vec<u8>> {
        if slot == Slot::NONE {
            return None;
        }
        let mut record = vec![0; self.len];
        self.read_page(self.offset(slot.0), &mut record).ok()?;
        Some(record)
    }

    /// Frees a record's place.
    pub fn free(&self, slot: Slot) {
        if slot != Slot::NONE && self.write(self.offset(slot.0), &[0; 8]) {
            self.free.lock().slots.push(slot.0);
        }
    }

    /// Frees all.
    pub fn clear(&self) {
        let mut free = self.free.lock();
        match self.file.set_len(PAGE as u64) {
            Ok(()) => *free = Free::default(),
            Err(error) => note(&error),
        }
    }

    /// Writes down a number that [`Saved::reserved`] brings back; false when it cannot
    /// be written.
    #[must_use]
    pub fn reserve(&self, number: u64) -> bool {
        self.write(RESERVED, &number.to_le_bytes())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> bool {
        let written = self.file.write_all_at(bytes, offset);
        if let Err(error) = &written {
            note(error);
        }
        written.is_ok()
    }
}

#[cfg(test)]
impl Slots {
    /// Has all writes fail, as on a full disk, or no more.
    pub(crate) fn writes(&mut self, path: &Path, succeed: bool) {
        let mut options = private();
        self.file = options.read(true).write(succeed).open(path).unwrap();
    }
}

fn note(error: &io::Error) {
    if let Some(count) = FAILURES.count() {
        log::error!(
            "State cannot be written ({count} times so far): {error}; what the guest holds is lost if this process is"
        );
    }
}

fn number(bytes: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: u64, value: u8) -> Vec<u8> {
        [&id.to_le_bytes()[..], &[value; 24]].concat()
    }

    #[test]
    fn a_table_is_found_again_as_it_was_left() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("table");
        let (slots, saved) = Slots::open(&path, 32).unwrap();
        assert!(saved.records.is_empty());
        let places: Vec<_> = (1..=300).map(|id| slots.add(&record(id, 1))).collect();
        slots.put(places[7], 8, &[9]);
        slots.free(places[0]);
        slots.free(places[299]);
        assert!(slots.reserve(77));
        drop(slots);

        let (slots, saved) = Slots::open(&path, 32).unwrap();
        assert_eq!((saved.records.len(), saved.reserved), (298, 77));
        let eighth = &saved.records[6];
        assert_eq!(
            (eighth.0, number(&eighth.1), eighth.1[8]),
            (places[7], 8, 9)
        );
        // Free places are used before new ones.
        let again = [slots.add(&record(301, 2)), slots.add(&record(302, 2))];
        assert!(again.contains(&places[0]) && again.contains(&places[299]));
        slots.clear();
        assert_eq!(slots.add(&record(1, 1)), places[0]);
        drop(slots);
        let (_, saved) = Slots::open(&path, 32).unwrap();
        assert_eq!((saved.records.len(), saved.reserved), (1, 77));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("table");
        std::fs::write(&path, vec![1; 8192]).unwrap();
        assert!(matches!(
            Slots::open(&path, 32),
            Err(StateError::Foreign { .. })
        ));
        std::fs::write(&path, b"cut short").unwrap();
        let (slots, _) = Slots::open(&path, 32).unwrap();
        drop(slots);
        assert!(Slots::open(&path, 64).is_err(), "another length");
    }
}
