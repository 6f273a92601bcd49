//! Numbers of mounts, and what they make of the numbers inside.
//!
//! A node id (and an inode number) of the device has the number of its mount in
//! the upper 24 bits and the file system's own in the lower 40.

/// Bits of a node id or inode number that are the file system's own.
const INNER_BITS: u32 = 40;

/// Stands for the tree itself, whose directories have numbers of their own.
pub(super) const TREE: u32 = 1;

/// Largest number of a mount.
pub(super) const LAST: u32 = (1 << (64 - INNER_BITS)) - 1;

/// The number of a node on the device; none when the file system's own is too
/// large, which no image's is: 40 bits number the inodes of a bootstrap of 32 TiB.
pub(super) fn join(mount: u32, inner: u64) -> Option<u64> {
    (inner >> INNER_BITS == 0).then(|| u64::from(mount) << INNER_BITS | inner)
}

/// Number of the mount and number inside.
pub(super) fn split(node: u64) -> (u32, u64) {
    let mount = (node >> INNER_BITS) as u32;
    (mount, node & ((1 << INNER_BITS) - 1))
}

/// Whether a mount may have this number.
pub(super) fn is_mount(number: u32) -> bool {
    number != TREE && number <= LAST
}

/// Hands out numbers, each once.
#[derive(Debug)]
pub(super) struct Numbers {
    next: u32,
    plain: bool,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            next: TREE + 1,
            plain: true,
        }
    }
}

impl Numbers {
    /// The next number. The first mount at the root has 0, which leaves node ids
    /// and inode numbers of a single image as they are.
    pub(super) fn next(&mut self, at_root: bool) -> Option<u32> {
        if at_root && std::mem::take(&mut self.plain) {
            return Some(0);
        }
        if self.next > LAST {
            return None;
        }
        self.next += 1;
        Some(self.next - 1)
    }

    /// The next number, and whether 0 is still to be had.
    pub(super) fn given(&self) -> (u32, bool) {
        (self.next, self.plain)
    }

    /// Goes on where another daemon was.
    pub(super) fn take_up(&mut self, next: u32, plain: bool) {
        self.next = self.next.max(next);
        self.plain &= plain;
    }

    /// Notes that a number is in use.
    pub(super) fn skip(&mut self, number: u32) {
        match number {
            0 => self.plain = false,
            number => self.next = self.next.max(number + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_joined_and_split_again() {
        for (mount, inner) in [(0, 1), (TREE, 0), (7, (1 << 40) - 1), (LAST, 5)] {
            assert_eq!(split(join(mount, inner).unwrap()), (mount, inner));
        }
        assert_eq!(join(3, 1 << 40), None);
    }

    #[test]
    fn no_number_is_given_twice() {
        let mut numbers = Numbers::default();
        let given: Vec<_> = [false, true, true, false]
            .into_iter()
            .map(|at_root| numbers.next(at_root))
            .collect();
        assert_eq!(given, [Some(2), Some(0), Some(3), Some(4)]);
        numbers.next = LAST;
        assert_eq!(numbers.next(false), Some(LAST));
        assert_eq!(numbers.next(false), None);
    }
}
