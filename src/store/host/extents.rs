//! Where a sparse file has data, and giving space back.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};

/// The parts of `range` where the file may have data. Where the file system
/// does not say, all of it.
pub(in crate::store) fn of(file: &File, range: Range<u64>) -> Vec<Range<u64>> {
    let mut found = vec![];
    let mut at = range.start;
    while at < range.end {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(_) => {
                found.push(at..range.end);
                break;
            }
        };
        let end = seek(file, SeekFrom::Hole(start)).unwrap_or(range.end);
        if start >= range.end {
            break;
        }
        // A file that changes meanwhile must not keep us here.
        let end = end.clamp(start.saturating_add(1), range.end);
        found.push(start..end);
        at = end;
    }
    found
}

/// Gives the space of `range` back to the file system; it reads as zeros
/// afterwards.
///
/// # Errors
/// When the file system cannot.
pub(in crate::store) fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let len = range.end.saturating_sub(range.start);
    if len == 0 {
        return Ok(());
    }
    Ok(fallocate(file, flags, range.start, len)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    fn parts(file: &File, range: Range<u64>) -> Vec<(u64, u64)> {
        let parts = of(file, range).into_iter();
        parts.map(|part| (part.start, part.end)).collect()
    }

    #[test]
    fn punched_space_is_a_hole_again() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 65_536], 1 << 20).unwrap();
        let end = (1 << 20) + 65_536;
        assert_eq!(parts(&file, 0..1 << 40), [(1 << 20, end)]);
        assert_eq!(of(&file, 0..1 << 20), []);
        punch(&file, (1 << 20) + 4096..(1 << 20) + 8192).unwrap();
        let parts = [1 << 20..(1 << 20) + 4096, (1 << 20) + 8192..end];
        assert_eq!(of(&file, 0..1 << 40), parts);
        assert_eq!(of(&file, (1 << 20) + 9000..end)[0].start, (1 << 20) + 9000);
        punch(&file, 5..5).unwrap();
    }
}
