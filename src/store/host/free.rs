//! Taking chunks out of a blob's files and giving their space back.
//!
//! A chunk is freed by whoever holds its claim and its pin alone: nobody writes
//! it then and nobody relies on it. First the map says that it is gone, then
//! the hole is punched, so that who reads zeros finds out why.

use std::io;
use std::ops::Range;

use super::extents;
use super::files::BlobFiles;
use super::lock::{self, Kind};
use super::record::{self, Record};

/// Chunks that are locked at once: not for long, since their readers wait.
const LOCKED_AT_ONCE: u32 = 64;

/// A run of chunks that nobody else fetches or relies on, until dropped.
pub(in crate::store) struct Hold<'a> {
    files: &'a BlobFiles,
    run: Range<u32>,
}

impl<'a> Hold<'a> {
    /// Takes claims and pins of a run. None: a part of it is in use.
    pub(in crate::store) fn new(files: &'a BlobFiles, run: Range<u32>) -> Option<Self> {
        let take = |range| lock::try_lock(&files.map, range, Kind::Exclusive);
        if !matches!(take(lock::claims(run.clone())), Ok(true)) {
            return None;
        }
        // From here on dropping gives back what was taken.
        let hold = Self { files, run };
        matches!(take(lock::pins(hold.run.clone())), Ok(true)).then_some(hold)
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        lock::unlock(&self.files.map, lock::pins(self.run.clone()));
        lock::unlock(&self.files.map, lock::claims(self.run.clone()));
    }
}

/// Frees a run of chunks, but those that are in use; returns the bytes that
/// were given back.
///
/// # Errors
/// When the map cannot be written or the file system cannot punch holes.
pub(in crate::store) fn free(files: &BlobFiles, run: Range<u32>) -> io::Result<u64> {
    let mut freed = 0;
    let mut at = run.start;
    while at < run.end {
        let end = at.saturating_add(LOCKED_AT_ONCE).min(run.end);
        freed += free_some(files, at..end)?;
        at = end;
    }
    Ok(freed)
}

fn free_some(files: &BlobFiles, run: Range<u32>) -> io::Result<u64> {
    let Some(_hold) = Hold::new(files, run.clone()) else {
        if run.len() <= 1 {
            return Ok(0);
        }
        let middle = run.start + (run.end - run.start) / 2;
        return Ok(free_some(files, run.start..middle)? + free_some(files, middle..run.end)?);
    };
    let resident = files.resident(run.clone());
    let raw = files.raw_records(run.clone());
    files.mark(run.clone(), false)?;
    let mut freed = 0;
    let mut hole = 0..0;
    for ((index, was_there), raw) in run.zip(resident).zip(raw.chunks(record::LEN)) {
        let Some(record) = Record::decode(&files.stem, index, raw) else {
            continue;
        };
        let end = record.offset.saturating_add(record.space());
        if hole.end == record.offset {
            hole.end = end;
        } else {
            extents::punch(&files.data, hole)?;
            hole = record.offset..end;
        }
        if was_there {
            freed += record.space();
        }
    }
    extents::punch(&files.data, hole)?;
    Ok(freed)
}

/// Frees what no chunk that is there takes: left behind by who was killed while
/// writing or evicting, or whose record is lost. Returns the bytes given back.
///
/// # Errors
/// As [`free`].
pub(in crate::store) fn free_garbage(files: &BlobFiles) -> io::Result<u64> {
    let before = files.allocated()?;
    // Chunks that are there and cannot be freed for want of a record.
    for run in files.runs() {
        for index in run
            .clone()
            .zip(files.resident(run))
            .filter_map(|(i, r)| r.then_some(i))
        {
            if files.record(index).is_none()
                && let Some(_hold) = Hold::new(files, index..index.saturating_add(1))
                && files.record(index).is_none()
            {
                files.mark(index..index.saturating_add(1), false)?;
            }
        }
    }
    // One claim at a time for what has a record; all of them for the rest.
    free_unused(files)?;
    if let Some(_hold) = Hold::new(files, 0..files.chunks()) {
        let covered = covered(files);
        for hole in gaps(&covered, extents::of(&files.data, 0..u64::MAX >> 1)) {
            extents::punch(&files.data, hole)?;
        }
    }
    Ok(before.saturating_sub(files.allocated()?))
}

/// Frees the space of chunks that have a record and are not there.
fn free_unused(files: &BlobFiles) -> io::Result<()> {
    for rows in extents::of(&files.table, 0..u64::from(files.chunks()) * 64) {
        let index = |at: u64| u32::try_from(at / 64).unwrap_or(u32::MAX);
        for index in index(rows.start)..index(rows.end.next_multiple_of(64)).min(files.chunks()) {
            let run = index..index.saturating_add(1);
            let Some(record) = files
                .record(index)
                .filter(|_| files.resident(run.clone()) == [false])
            else {
                continue;
            };
            let space = record.offset..record.offset.saturating_add(record.space());
            if extents::of(&files.data, space.clone()).is_empty() {
                continue;
            }
            let Some(_hold) = Hold::new(files, run.clone()) else {
                continue;
            };
            if files.resident(run) == [false] {
                extents::punch(&files.data, space)?;
            }
        }
    }
    Ok(())
}

/// The space of all chunks that are there, in order and merged.
fn covered(files: &BlobFiles) -> Vec<Range<u64>> {
    let mut spaces = vec![];
    for run in files.runs() {
        let raw = files.raw_records(run.clone());
        let resident = files.resident(run.clone());
        for ((index, resident), raw) in run.zip(resident).zip(raw.chunks(record::LEN)) {
            if let Some(record) = Record::decode(&files.stem, index, raw).filter(|_| resident) {
                spaces.push(record.offset..record.offset.saturating_add(record.space()));
            }
        }
    }
    spaces.sort_unstable_by_key(|space| space.start);
    spaces.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    spaces
}

/// The parts of `extents` that lie outside of `covered`; both are in order.
fn gaps(covered: &[Range<u64>], extents: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut gaps = vec![];
    for extent in extents {
        let mut at = extent.start;
        let first = covered.partition_point(|space| space.end <= at);
        for space in covered.iter().skip(first) {
            if space.start >= extent.end {
                break;
            }
            if at < space.start {
                gaps.push(at..space.start);
            }
            at = at.max(space.end);
        }
        if at < extent.end {
            gaps.push(at..extent.end);
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_not_covered() {
        let covered = [0..4, 10..20, 30..40];
        let check = |covered: &[Range<u64>], extents: &[(u64, u64)], expected: &[(u64, u64)]| {
            let extents = extents.iter().map(|&(start, end)| start..end).collect();
            let gaps = gaps(covered, extents).into_iter();
            let gaps: Vec<_> = gaps.map(|gap| (gap.start, gap.end)).collect();
            assert_eq!(gaps, expected);
        };
        check(&covered, &[(0, 50)], &[(4, 10), (20, 30), (40, 50)]);
        check(&covered, &[(0, 4), (12, 18)], &[]);
        check(&covered, &[(2, 11), (39, 41)], &[(4, 10), (40, 41)]);
        check(&[], &[(3, 5)], &[(3, 5)]);
    }
}
