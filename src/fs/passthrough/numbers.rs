//! Inode numbers that are unique although several file systems of the host are
//! shown as one.
//!
//! A number has 40 bits, which is what the tree of mounts leaves. Inodes of the
//! file system that the passed-through directory is on keep their numbers up to
//! 38 bits; those of the next 64 file systems have theirs, up to 32 bits, beside
//! that of the file system. All others are numbered in the order in which they are
//! met, and keep their numbers as long as the daemon runs, or its state is kept.
//!
//! A number that could not be written down is not given to another inode after a
//! crash either: a file system without a record has its inodes numbered in turn, and
//! numbers in turn are reserved before they are given.

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use crate::fs::Errno;
use crate::state::{Saved, Serial, Slot, Slots};

const OWN_BITS: u32 = 38;
const OTHER_BITS: u32 = 32;
const OTHERS: u64 = 1 << (OWN_BITS - OTHER_BITS);

/// Marks numbers of other file systems.
const OTHER: u64 = 1 << 38;

/// What a record is about.
const DEVICE: u64 = 1;
const INODE: u64 = 2;

/// Marks numbers that were given in turn.
const IN_TURN: u64 = 1 << 39;

/// Numbers in turn are reserved so many at a time: as many starts of a daemon as there
/// are of these.
const STEP: u64 = 1 << 20;

/// The numbers of one passed-through directory.
pub(super) struct Numbers {
    own: u64,
    kept: Option<Slots>,
    others: RwLock<Others>,
    in_turn: Mutex<InTurn>,
}

/// The other file systems.
#[derive(Default)]
struct Others {
    /// Their positions by device; none where inodes are numbered in turn.
    positions: HashMap<u64, Option<u64>>,
    /// The next position.
    next: u64,
}

/// Inodes that were numbered in turn.
#[derive(Default)]
struct InTurn {
    numbers: HashMap<(u64, u64), u64>,
    /// Gives 1 for the first.
    serial: Serial,
}

impl Numbers {
    /// Numbers for a directory on the device `own`.
    pub(super) fn new(own: u64) -> Self {
        Self {
            own,
            kept: None,
            others: RwLock::default(),
            in_turn: Mutex::default(),
        }
    }

    /// Goes on with what is `saved`, and writes down more from now on.
    pub(super) fn keep(&mut self, slots: Slots, saved: &Saved) {
        let (others, in_turn) = (self.others.get_mut(), self.in_turn.get_mut());
        let mut last = 0;
        for (_, record) in &saved.records {
            let field = |at: usize| {
                let bytes = record.get(8 * at..8 * at + 8);
                let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
                bytes.map_or(0, u64::from_le_bytes)
            };
            let (dev, ino, number) = (field(1), field(2), field(3));
            if field(0) == DEVICE {
                others.positions.insert(dev, Some(number));
                others.next = others.next.max(number.saturating_add(1));
            } else {
                in_turn.numbers.insert((dev, ino), number);
                last = last.max((number & !IN_TURN).saturating_add(1));
            }
        }
        // Whose inodes were numbered in turn goes on so.
        for &(dev, ino) in in_turn.numbers.keys() {
            if ino >> OTHER_BITS == 0 {
                others.positions.entry(dev).or_insert(None);
            }
        }
        in_turn.serial = Serial::again(last, saved, &slots, STEP);
        self.kept = Some(slots);
    }

    /// Writes down a number; false when it should be and cannot.
    fn note(&self, what: u64, dev: u64, ino: u64, number: u64) -> bool {
        let Some(kept) = &self.kept else {
            return true;
        };
        let fields = [what, dev, ino, number].map(u64::to_le_bytes);
        kept.add(fields.as_flattened()) != Slot::NONE
    }

    /// The number that inode `ino` of the device `dev` is shown with.
    ///
    /// # Errors
    /// `EIO` when all were given, or none can be reserved.
    pub(super) fn shown(&self, dev: u64, ino: u64) -> Result<u64, Errno> {
        if dev == self.own && ino >> OWN_BITS == 0 {
            return Ok(ino);
        }
        if dev != self.own
            && ino >> OTHER_BITS == 0
            && let Some(other) = self.other(dev)
        {
            return Ok(OTHER | other << OTHER_BITS | ino);
        }
        let mut in_turn = self.in_turn.lock();
        if let Some(&known) = in_turn.numbers.get(&(dev, ino)) {
            return Ok(known);
        }
        let next = in_turn.serial.next(self.kept.as_ref(), STEP);
        let next = next.map(|next| next - 1).filter(|&next| next < IN_TURN);
        let number = IN_TURN | next.ok_or(Errno::EIO)?;
        // Without a record it has another number after a crash, which is a new one.
        self.note(INODE, dev, ino, number);
        in_turn.numbers.insert((dev, ino), number);
        Ok(number)
    }

    /// The position of a device among the others.
    fn other(&self, dev: u64) -> Option<u64> {
        if let Some(&known) = self.others.read().positions.get(&dev) {
            return known;
        }
        let mut others = self.others.write();
        if let Some(&known) = others.positions.get(&dev) {
            return known;
        }
        let next = others.next;
        let position = (next < OTHERS && self.note(DEVICE, dev, 0, next)).then_some(next);
        if position.is_some() {
            others.next += 1;
        }
        others.positions.insert(dev, position);
        position
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn numbers_are_unique_lasting_and_of_40_bits() {
        let numbers = Numbers::new(7);
        assert_eq!(numbers.shown(7, 12_345), Ok(12_345));
        let inodes = [1, 2, u64::from(u32::MAX), 1 << 32, 1 << 38, u64::MAX];
        let mut seen = HashSet::new();
        let all = || (0..100).flat_map(|dev| inodes.map(|ino| (dev, ino)));
        let first: Vec<u64> = all()
            .map(|(dev, ino)| numbers.shown(dev, ino).unwrap())
            .collect();
        for &number in &first {
            assert!(number >> 40 == 0 && seen.insert(number), "{number:#x}");
        }
        let again: Vec<u64> = all()
            .map(|(dev, ino)| numbers.shown(dev, ino).unwrap())
            .collect();
        assert_eq!(first, again);
    }

    /// Opens the table at `path`, as a daemon does that is started.
    fn begin(path: &Path) -> Numbers {
        let mut numbers = Numbers::new(7);
        let (slots, saved) = Slots::open(path, 32).unwrap();
        numbers.keep(slots, &saved);
        numbers
    }

    /// No two inodes may ever have had the same number, whatever could be written.
    #[test]
    fn numbers_that_were_not_written_down_are_not_given_to_others() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("numbers");
        let mut seen: HashMap<u64, (u64, u64)> = HashMap::new();
        let mut inodes = Vec::new();
        for daemon in 0..6_u64 {
            let mut numbers = begin(&path);
            for step in 0..6 {
                // The disk is full for the first, the second, the third...
                let slots = numbers.kept.as_mut().unwrap();
                slots.writes(&path, step % 3 != daemon % 3);
                for (dev, ino) in [(7, 1 << 40), (100, 5), (200, 1 << 50)] {
                    inodes.push((dev + daemon * 6 + step, ino));
                }
                inodes.push((7, 1 << 38 | daemon << 8 | step));
                for &(dev, ino) in &inodes {
                    let number = numbers.shown(dev, ino).unwrap();
                    let known = *seen.entry(number).or_insert((dev, ino));
                    assert_eq!(known, (dev, ino), "{number:#x} given twice");
                    // It stays as long as the daemon runs.
                    assert_eq!(numbers.shown(dev, ino), Ok(number));
                }
            }
        }
    }

    #[test]
    fn numbers_are_those_of_before() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("numbers");
        let all = [(8, 1), (9, 1), (9, 1 << 33), (7, 1 << 38), (8, 2)];
        let shown = |numbers: &Numbers| all.map(|(dev, ino)| numbers.shown(dev, ino).unwrap());
        let first = shown(&begin(&path));
        for _ in 0..3 {
            assert_eq!(shown(&begin(&path)), first);
        }
        // A file system that had no record stays in turn, so that its inodes keep
        // their numbers.
        let mut numbers = begin(&path);
        numbers.kept.as_mut().unwrap().writes(&path, false);
        assert_eq!(numbers.shown(10, 1).unwrap() & IN_TURN, IN_TURN);
        numbers.kept.as_mut().unwrap().writes(&path, true);
        let second = numbers.shown(10, 2).unwrap();
        assert_eq!(second & IN_TURN, IN_TURN);
        assert_eq!(begin(&path).shown(10, 2), Ok(second));
    }
}
