//! GNU sparse files: the old header map and the three PAX formats.

use std::io;

use super::header::{BLOCK, Header, number, padded};
use super::pax::Pax;
use super::problem::EntryProblem;

/// Where old headers have their map, whether more follows, and the size.
const OLD_MAP: std::ops::Range<usize> = 386..482;
const OLD_MORE: usize = 482;
const OLD_SIZE: std::ops::Range<usize> = 483..495;

/// Bytes of the map in a continuation block, and where it says that more
/// follows.
const MORE_MAP: std::ops::Range<usize> = 0..504;
const MORE_MORE: usize = 504;

/// Bytes of one number in an old map.
const FIELD: usize = 12;

type ReadAt<'a> = dyn FnMut(&mut [u8], u64) -> io::Result<()> + 'a;

/// Which parts of a file are data.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// Offset and length of each piece, as stored one after the other.
    pub(super) pieces: Vec<(u64, u64)>,
    /// Length of the file with its holes.
    pub(super) size: u64,
    /// Bytes of the entry's data that the map itself takes.
    pub(super) inside: u64,
}

impl Map {
    /// The map of an entry whose header ends at `offset`, None if the file is
    /// not sparse. Moves `offset` to where the file's data begin.
    pub(super) fn read(
        header: &Header,
        pax: &Pax,
        stored: u64,
        offset: &mut u64,
        read: &mut ReadAt<'_>,
    ) -> Result<Option<Self>, EntryProblem> {
        let keys = &pax.sparse;
        if header.kind() == b'S' {
            return Self::old(header, offset, read).map(Some);
        }
        let Some(size) = keys.size else {
            return Ok(None);
        };
        if keys.map_in_data {
            return Self::in_data(size, stored, offset, read).map(Some);
        }
        let (pairs, rest) = keys.map.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(EntryProblem::Sparse("an offset without a length"));
        }
        let pieces = pairs.iter().map(|[at, len]| (*at, *len)).collect();
        Ok(Some(Self {
            pieces,
            size,
            inside: 0,
        }))
    }

    fn old(header: &Header, offset: &mut u64, read: &mut ReadAt<'_>) -> Result<Self, EntryProblem> {
        let bad = EntryProblem::Sparse("a field is not a number");
        let block = header.raw();
        let size = number(&block[OLD_SIZE])
            .and_then(|size| u64::try_from(size).ok())
            .ok_or(bad)?;
        let mut map = Self {
            size,
            ..Self::default()
        };
        map.old_pieces(&block[OLD_MAP])?;
        let mut more = block[OLD_MORE] != 0;
        while more {
            let mut block = [0; 512];
            read(&mut block, *offset).map_err(|_| EntryProblem::Truncated)?;
            *offset += BLOCK;
            map.old_pieces(&block[MORE_MAP])?;
            more = block[MORE_MORE] != 0;
        }
        Ok(map)
    }

    fn old_pieces(&mut self, fields: &[u8]) -> Result<(), EntryProblem> {
        let field = |bytes| number(bytes).and_then(|number| u64::try_from(number).ok());
        for pair in fields.chunks_exact(2 * FIELD) {
            let (at, len) = pair.split_at(FIELD);
            // The first unused pair ends the map.
            if at.iter().all(|byte| *byte == 0) {
                break;
            }
            match (field(at), field(len)) {
                (Some(at), Some(len)) => self.pieces.push((at, len)),
                _ => return Err(EntryProblem::Sparse("a field is not a number")),
            }
        }
        Ok(())
    }

    /// Format 1.0: decimal numbers, each with a line feed, in whole blocks
    /// before the data.
    fn in_data(
        size: u64,
        stored: u64,
        offset: &mut u64,
        read: &mut ReadAt<'_>,
    ) -> Result<Self, EntryProblem> {
        let mut numbers = Numbers {
            read,
            at: *offset,
            end: offset.saturating_add(stored),
            block: [0; 512],
            used: 512,
        };
        let count = numbers.next()?;
        let mut map = Self {
            size,
            ..Self::default()
        };
        for _ in 0..count {
            map.pieces.push((numbers.next()?, numbers.next()?));
        }
        map.inside = numbers.at - *offset;
        *offset = numbers.at;
        Ok(map)
    }

    /// Whether the pieces lie in order inside the file and are what is stored.
    pub(super) fn check(&self, stored: u64) -> Result<(), EntryProblem> {
        let mut end = 0;
        let mut sum = 0_u64;
        for (at, len) in &self.pieces {
            let next = at
                .checked_add(*len)
                .filter(|next| *at >= end && *next <= self.size);
            end = next.ok_or(EntryProblem::Sparse("pieces overlap or pass the end"))?;
            sum += len;
        }
        // Some writers count the last block's padding.
        if sum != stored && padded(sum) != stored {
            return Err(EntryProblem::Sparse(
                "it does not have the length of the data",
            ));
        }
        Ok(())
    }
}

/// Reads the numbers of format 1.0.
struct Numbers<'a, 'b> {
    read: &'a mut ReadAt<'b>,
    /// Where the next block is, and where the entry's data end.
    at: u64,
    end: u64,
    block: [u8; 512],
    used: usize,
}

impl Numbers<'_, '_> {
    fn next(&mut self) -> Result<u64, EntryProblem> {
        let mut value: Option<u64> = None;
        loop {
            match self.byte()? {
                b'\n' => return value.ok_or(EntryProblem::Sparse("a number is missing")),
                digit @ b'0'..=b'9' => {
                    let longer = value.unwrap_or(0).checked_mul(10);
                    value = longer.and_then(|value| value.checked_add(u64::from(digit - b'0')));
                    if value.is_none() {
                        return Err(EntryProblem::Sparse("a number is too large"));
                    }
                }
                _ => return Err(EntryProblem::Sparse("a field is not a number")),
            }
        }
    }

    fn byte(&mut self) -> Result<u8, EntryProblem> {
        if self.used == self.block.len() {
            if self.at.checked_add(BLOCK).is_none_or(|end| end > self.end) {
                return Err(EntryProblem::Sparse("it is longer than the data"));
            }
            (self.read)(&mut self.block, self.at).map_err(|_| EntryProblem::Truncated)?;
            self.at += BLOCK;
            self.used = 0;
        }
        let byte = self.block[self.used];
        self.used += 1;
        Ok(byte)
    }
}
