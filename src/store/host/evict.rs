//! Making room: what was not used for longest goes first.
//!
//! Each use of a chunk is noted with the epoch of now, a number that grows with
//! every eviction. An eviction adds up how many bytes were used last in which
//! epoch, over all blobs of the directory, frees whole epochs from the oldest
//! on, and of the last one as much as it needs. It frees more than was asked
//! for, a sixteenth of the limit, so that not every writer has to.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use super::files::BlobFiles;
use super::free;
use super::place;
use super::record::{self, Record};

/// The data file may take this much more than its chunks (and a sixteenth)
/// before the rest is looked for.
const SLACK: u64 = 1 << 20;

/// Which chunks are to go: all that are older than `oldest`, and of those that
/// are just as old as many as make `rest` bytes; none older than `ceiling`,
/// which were tried in vain.
struct Choice {
    epoch: u16,
    ceiling: u16,
    oldest: u16,
    rest: u64,
}

/// Frees at least `wanted` bytes, if they can be freed; returns how many were.
/// `freed` hears of each part at once. Who calls has the right to evict.
///
/// # Errors
/// When the directory cannot be read or the file system cannot free space.
pub(in crate::store) fn evict(
    dir: &Path,
    epoch: u16,
    wanted: u64,
    mut freed: impl FnMut(u64),
) -> io::Result<u64> {
    let (mut done, mut ceiling) = (0, u16::MAX);
    let mut garbage_is_gone = false;
    while done < wanted {
        let mut ages = BTreeMap::new();
        each_blob(dir, |files| {
            let taken = add_ages(files, epoch, &mut ages);
            if !garbage_is_gone {
                let garbage = tidy(dir, files, taken)?;
                freed(garbage);
                done += garbage;
            }
            Ok(())
        })?;
        garbage_is_gone = true;
        let left = wanted.saturating_sub(done);
        let Some((oldest, rest)) = threshold(&ages, ceiling, left) else {
            break;
        };
        let mut choice = Choice {
            epoch,
            ceiling,
            oldest,
            rest,
        };
        let mut got = 0;
        each_blob(dir, |files| {
            for run in files.runs() {
                for part in choice.among(files, run) {
                    let part = free::free(files, part)?;
                    freed(part);
                    got += part;
                }
            }
            Ok(())
        })?;
        done += got;
        if got == 0 {
            // All of them are in use: look at younger ones.
            let Some(younger) = oldest.checked_sub(1) else {
                break;
            };
            ceiling = younger;
        }
    }
    Ok(done)
}

/// Does `work` with the files of each blob, one after the other.
pub(in crate::store) fn each_blob(
    dir: &Path,
    mut work: impl FnMut(&BlobFiles) -> io::Result<()>,
) -> io::Result<()> {
    for stem in place::stems(dir)? {
        // What is being removed or cannot be opened has nothing to give.
        if let Ok(files) = BlobFiles::existing(dir, &stem) {
            work(&files)?;
        }
    }
    Ok(())
}

/// Frees what no chunk takes of a blob whose chunks take `taken` bytes, and the
/// files of a blob that has no chunks and no user.
fn tidy(dir: &Path, files: &BlobFiles, taken: u64) -> io::Result<u64> {
    let allocated = files.allocated()?;
    if taken == 0 && files.remove(dir)? {
        return Ok(allocated);
    }
    if allocated > taken + taken / 16 + SLACK {
        return free::free_garbage(files);
    }
    Ok(0)
}

/// The age from which on chunks go, and how many bytes of that age: so that
/// `wanted` bytes go, the oldest first.
fn threshold(ages: &BTreeMap<u16, u64>, ceiling: u16, wanted: u64) -> Option<(u16, u64)> {
    let mut left = wanted;
    let mut last = None;
    for (&age, &bytes) in ages.range(..=ceiling).rev() {
        if left == 0 {
            break;
        }
        last = Some((age, left));
        left = left.saturating_sub(bytes);
    }
    last
}

/// Adds the bytes of the blob's chunks to the sums by age; returns all of them.
fn add_ages(files: &BlobFiles, epoch: u16, ages: &mut BTreeMap<u16, u64>) -> u64 {
    let mut taken = 0;
    for run in files.runs() {
        let raw = files.raw_records(run.clone());
        let chunks = files.resident(run.clone()).into_iter();
        let chunks = chunks.zip(files.epochs(run)).zip(raw.chunks(record::LEN));
        for ((resident, used), raw) in chunks {
            if let Some(record) = Record::decode_unchecked(raw).filter(|_| resident) {
                taken += record.space();
                *ages.entry(age(epoch, used)).or_insert(0) += record.space();
            }
        }
    }
    taken
}

/// How many epochs ago a chunk was used. What was never noted is as old as can
/// be.
fn age(epoch: u16, used: u16) -> u16 {
    match used {
        0 => u16::MAX,
        used => epoch.wrapping_sub(used),
    }
}

impl Choice {
    /// The parts of a run that are to go.
    fn among(&mut self, files: &BlobFiles, run: Range<u32>) -> Vec<Range<u32>> {
        let raw = files.raw_records(run.clone());
        let resident = files.resident(run.clone());
        let chunks = run.clone().zip(resident).zip(files.epochs(run));
        let mut parts: Vec<Range<u32>> = vec![];
        for (((index, resident), used), raw) in chunks.zip(raw.chunks(record::LEN)) {
            let record = Record::decode_unchecked(raw).filter(|_| resident);
            let Some(record) = record.filter(|_| self.takes(age(self.epoch, used))) else {
                continue;
            };
            if age(self.epoch, used) == self.oldest {
                self.rest = self.rest.saturating_sub(record.space());
            }
            match parts.last_mut() {
                Some(part) if part.end == index => part.end += 1,
                _ => parts.push(index..index.saturating_add(1)),
            }
        }
        parts
    }

    fn takes(&self, age: u16) -> bool {
        age <= self.ceiling && (age > self.oldest || (age == self.oldest && self.rest > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_and_no_more_than_needed() {
        let ages = BTreeMap::from([(0, 10), (1, 20), (5, 30), (u16::MAX, 40)]);
        let all = u16::MAX;
        assert_eq!(threshold(&ages, all, 1), Some((u16::MAX, 1)));
        assert_eq!(threshold(&ages, all, 40), Some((u16::MAX, 40)));
        assert_eq!(threshold(&ages, all, 41), Some((5, 1)));
        assert_eq!(threshold(&ages, all, 95), Some((0, 5)));
        assert_eq!(threshold(&ages, all, 1000), Some((0, 910)));
        assert_eq!(threshold(&ages, 4, 5), Some((1, 5)));
        assert_eq!(threshold(&ages, all, 0), None);
        assert_eq!(threshold(&BTreeMap::new(), all, 9), None);
    }

    #[test]
    fn ages_run_over_the_end_of_the_epochs() {
        assert_eq!(age(5, 5), 0);
        assert_eq!(age(2, u16::MAX), 3);
        assert_eq!(age(7, 0), u16::MAX);
    }
}
