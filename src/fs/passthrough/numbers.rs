//! Inode numbers that are unique although several file systems of the host are
//! shown as one.
//!
//! A number has 40 bits, which is what the tree of mounts leaves. Inodes of the
//! file system that the passed-through directory is on keep their numbers up to
//! 38 bits; those of the next 64 file systems have theirs, up to 32 bits, beside
//! that of the file system. All others are numbered in the order in which they are
//! met, and keep their numbers as long as the daemon runs, or its state is kept.

use hashbrown::HashMap;
use parking_lot::{Mutex, RwLock};

use crate::state::{Saved, Slots};

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

/// The numbers of one passed-through directory.
pub(super) struct Numbers {
    own: u64,
    kept: Option<Slots>,
    others: RwLock<HashMap<u64, u64>>,
    in_turn: Mutex<HashMap<(u64, u64), u64>>,
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
        for (_, record) in &saved.records {
            let field = |at: usize| {
                let bytes = record.get(8 * at..8 * at + 8);
                let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
                bytes.map_or(0, u64::from_le_bytes)
            };
            if field(0) == DEVICE {
                self.others.get_mut().insert(field(1), field(3));
            } else {
                self.in_turn
                    .get_mut()
                    .insert((field(1), field(2)), field(3));
            }
        }
        self.kept = Some(slots);
    }

    fn note(&self, what: u64, dev: u64, ino: u64, number: u64) {
        if let Some(kept) = &self.kept {
            let fields = [what, dev, ino, number].map(u64::to_le_bytes);
            kept.add(fields.as_flattened());
        }
    }

    /// The number that inode `ino` of the device `dev` is shown with.
    pub(super) fn shown(&self, dev: u64, ino: u64) -> u64 {
        if dev == self.own && ino >> OWN_BITS == 0 {
            return ino;
        }
        if dev != self.own
            && ino >> OTHER_BITS == 0
            && let Some(other) = self.other(dev)
        {
            return OTHER | other << OTHER_BITS | ino;
        }
        let mut in_turn = self.in_turn.lock();
        let next = IN_TURN | in_turn.len() as u64;
        *in_turn.entry((dev, ino)).or_insert_with(|| {
            self.note(INODE, dev, ino, next);
            next
        })
    }

    /// The position of a device among the others.
    fn other(&self, dev: u64) -> Option<u64> {
        if let Some(&known) = self.others.read().get(&dev) {
            return Some(known);
        }
        let mut others = self.others.write();
        let next = others.len() as u64;
        if let Some(&known) = others.get(&dev) {
            return Some(known);
        }
        if next >= OTHERS {
            return None;
        }
        self.note(DEVICE, dev, 0, next);
        others.insert(dev, next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_are_unique_lasting_and_of_40_bits() {
        let numbers = Numbers::new(7);
        assert_eq!(numbers.shown(7, 12_345), 12_345);
        let inodes = [1, 2, u64::from(u32::MAX), 1 << 32, 1 << 38, u64::MAX];
        let mut seen = HashSet::new();
        let all = || (0..100).flat_map(|dev| inodes.map(|ino| (dev, ino)));
        let first: Vec<u64> = all().map(|(dev, ino)| numbers.shown(dev, ino)).collect();
        for &number in &first {
            assert!(number >> 40 == 0 && seen.insert(number), "{number:#x}");
        }
        let again: Vec<u64> = all().map(|(dev, ino)| numbers.shown(dev, ino)).collect();
        assert_eq!(first, again);
    }
}
