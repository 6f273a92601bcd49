//! The hit path: from the cache file into the reader's memory, checked there.
//!
//! Whole blocks are read straight into the destination and checked over it:
//! until the reply is published only the guest itself can interfere, and only
//! with itself. Blocks of which a part is wanted are checked in a private
//! buffer, since the destination has no room for the rest.

use super::cache_file::CacheFile;
use super::mac::Mac;
use super::tags::{BLOCK, Tags};
use crate::chunk::Chunk;
use crate::destination::Destination;

/// Why nothing was served.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Unserved {
    /// The bytes are not at hand without waiting, or not there at all.
    Absent,
    /// A check failed over the destination or the private buffer.
    Mismatch,
}

/// One read of the hit path.
pub(super) struct HotRead<'a> {
    pub(super) file: &'a CacheFile,
    pub(super) chunk: &'a Chunk,
    /// First wanted byte of the chunk, and the one behind the last.
    pub(super) from: usize,
    pub(super) end: usize,
    /// Where in the destination byte `from` goes.
    pub(super) at: usize,
}

impl HotRead<'_> {
    /// Reads the wanted bytes and checks nothing.
    pub(super) fn unchecked(&self, dest: &mut Destination<'_>) -> Result<(), Unserved> {
        self.read(dest, self.from, self.end)
    }

    /// Reads the wanted bytes and checks every block that they touch. What
    /// fails may leave bytes in the destination: the caller scrubs.
    pub(super) fn checked(
        &self,
        dest: &mut Destination<'_>,
        mac: &Mac,
        tags: &Tags,
    ) -> Result<(), Unserved> {
        let len = self.chunk_len();
        // Whole blocks are `start..stop`; a part may stick out on each side.
        let start = self.from.next_multiple_of(BLOCK);
        let stop = if self.end == len {
            len
        } else {
            self.end - self.end % BLOCK
        };
        let mut mac = mac.clone();
        if start >= stop {
            // No whole block: one that is cut, or two with the cut between.
            let middle = start.min(self.end);
            self.part(dest, &mut mac, tags, self.from, middle)?;
            return self.part(dest, &mut mac, tags, middle, self.end);
        }
        self.part(dest, &mut mac, tags, self.from, start)?;
        self.read(dest, start, stop)?;
        self.check(dest, &mut mac, tags, start, stop)?;
        self.part(dest, &mut mac, tags, stop, self.end)
    }

    /// Reads bytes `from..end` of the chunk to their place.
    fn read(&self, dest: &mut Destination<'_>, from: usize, end: usize) -> Result<(), Unserved> {
        let (at, len) = (self.place(from), end - from);
        let offset = self.offset(from);
        match dest.read_from(at, len, self.file.data(), offset, self.file.nowait()) {
            Ok(got) if got == len => Ok(()),
            _ => Err(Unserved::Absent),
        }
    }

    /// Checks the blocks `from..end`, which are whole, over the destination. A
    /// block may lie in several segments.
    fn check(
        &self,
        dest: &Destination<'_>,
        mac: &mut Mac,
        tags: &Tags,
        from: usize,
        end: usize,
    ) -> Result<(), Unserved> {
        let len = self.chunk_len();
        let mut unit = tags.unit(from, end, len);
        let (mut done, mut left) = (from, unit.map_or(0, |(len, _)| len));
        dest.visit(self.place(from), end - from, |mut piece| {
            while let (Some((_, tag)), false) = (unit, piece.is_empty()) {
                let (now, later) = piece.split_at(left.min(piece.len()));
                mac.update(now);
                piece = later;
                left -= now.len();
                done += now.len();
                if left > 0 {
                    continue;
                }
                if *tag != mac.finalize_and_reset() {
                    unit = None;
                } else if done < end {
                    unit = tags.unit(done, end, len);
                    left = unit.map_or(0, |(len, _)| len);
                }
            }
            unit.is_some()
        });
        let good = unit.is_some() && left == 0;
        // A destination that is too short must not pass for a checked one.
        if good && done == end {
            Ok(())
        } else {
            Err(Unserved::Mismatch)
        }
    }

    /// Reads and checks the block around bytes `from..end`, which lie in one
    /// block, privately, and copies them to their place.
    fn part(
        &self,
        dest: &mut Destination<'_>,
        mac: &mut Mac,
        tags: &Tags,
        from: usize,
        end: usize,
    ) -> Result<(), Unserved> {
        if from >= end {
            return Ok(());
        }
        let mut private = [0; BLOCK];
        let head = from % BLOCK;
        let start = from - head;
        let len = BLOCK.min(self.chunk_len() - start);
        let got = Destination::from_slice(&mut private).read_from(
            0,
            len,
            self.file.data(),
            self.offset(start),
            self.file.nowait(),
        );
        if !matches!(got, Ok(got) if got == len) {
            return Err(Unserved::Absent);
        }
        mac.update(private.get(..len).ok_or(Unserved::Absent)?);
        if tags.get(start / BLOCK) != Some(&mac.finalize_and_reset()) {
            return Err(Unserved::Mismatch);
        }
        let wanted = private.get(head..head + (end - from));
        let wanted = wanted.ok_or(Unserved::Absent)?;
        if dest.copy_in(self.place(from), wanted) == wanted.len() {
            Ok(())
        } else {
            Err(Unserved::Absent)
        }
    }

    fn chunk_len(&self) -> usize {
        usize::try_from(self.chunk.len).unwrap_or(usize::MAX)
    }

    /// Where in the destination byte `from` of the chunk goes.
    fn place(&self, from: usize) -> usize {
        self.at + (from - self.from)
    }

    /// Where in the cache file byte `from` of the chunk lies.
    fn offset(&self, from: usize) -> u64 {
        let from = u64::try_from(from).unwrap_or(u64::MAX);
        self.chunk.offset.saturating_add(from)
    }
}
