//! Locks of byte ranges that belong to an open file (`F_OFD_SETLK` of
//! fcntl(2)): gone when the file is closed, and so when the process dies.
//!
//! Two ranges of one open file never exclude each other; whoever locks for
//! several owners in one process keeps books of its own. The bytes need not
//! exist. Where a file system knows no locks, everything is granted: they save
//! work and keep order, no right byte hangs on them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Where pins begin in a map's range of locks; claims lie in front of them.
const PINS: u64 = 1 << 32;

/// The byte of a map that says, by its lock, that the blob is in use.
const IN_USE: u64 = 1 << 33;

/// How long a lock that is held for moments is asked for, how often at once, and
/// the pause between two tries after that.
const SOON: Duration = Duration::from_millis(200);
const EAGER: u32 = 8;
const PAUSE: Duration = Duration::from_micros(200);

/// The bytes of a map whose locks are the claims of chunks.
pub(in crate::store) fn claims(chunks: Range<u32>) -> Range<u64> {
    chunks.start.into()..chunks.end.into()
}

/// The bytes of a map whose locks are the pins of chunks.
pub(in crate::store) fn pins(chunks: Range<u32>) -> Range<u64> {
    PINS + u64::from(chunks.start)..PINS + u64::from(chunks.end)
}

/// The byte of a map whose lock says that the blob is in use.
pub(in crate::store) fn in_use() -> Range<u64> {
    IN_USE..IN_USE + 1
}

/// What a range is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) enum Kind {
    /// Held by many at a time.
    Shared,
    /// Held by one open file alone.
    Exclusive,
    /// Held no more.
    Free,
}

impl Kind {
    fn raw(self) -> libc::c_short {
        let raw = match self {
            Self::Shared => libc::F_RDLCK,
            Self::Exclusive => libc::F_WRLCK,
            Self::Free => libc::F_UNLCK,
        };
        libc::c_short::try_from(raw).unwrap_or_default()
    }
}

/// Locks or unlocks `range` of `file` without waiting. False: another open file
/// holds a part of it.
///
/// # Errors
/// When the system refuses for another reason than that.
pub(in crate::store) fn try_lock(file: &File, range: Range<u64>, kind: Kind) -> io::Result<bool> {
    let offset = |n: u64| libc::off_t::try_from(n).unwrap_or(libc::off_t::MAX);
    let request = libc::flock {
        l_type: kind.raw(),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: offset(range.start),
        l_len: offset(range.end.saturating_sub(range.start)),
        l_pid: 0,
    };
    if range.is_empty() {
        return Ok(true);
    }
    loop {
        return match fcntl(file, FcntlArg::F_OFD_SETLK(&request)) {
            Ok(_) => Ok(true),
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            // No locks on this file system: each for itself.
            Err(Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS) => Ok(true),
            Err(error) => Err(error.into()),
        };
    }
}

/// As [`try_lock`], for locks that are held for moments: asks for up to 200 ms,
/// and no longer, because their holder may have been stopped.
///
/// # Errors
/// As that.
pub(in crate::store) fn lock_soon(file: &File, range: Range<u64>, kind: Kind) -> io::Result<bool> {
    lock_within(file, range, kind, SOON)
}

/// As [`lock_soon`], for as long as the caller says.
///
/// # Errors
/// As that.
pub(in crate::store) fn lock_within(
    file: &File,
    range: Range<u64>,
    kind: Kind,
    patience: Duration,
) -> io::Result<bool> {
    let start = Instant::now();
    let mut tries = 0;
    while !try_lock(file, range.clone(), kind)? {
        tries += 1;
        if tries < EAGER {
            std::thread::yield_now();
        } else if start.elapsed() < patience {
            std::thread::sleep(PAUSE);
        } else {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Unlocks `range` of `file`.
pub(in crate::store) fn unlock(file: &File, range: Range<u64>) {
    // The file's end frees what this could not.
    let _ = try_lock(file, range, Kind::Free);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_exclude_each_other_byte_by_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks");
        let open = || {
            let mut options = File::options();
            options.create(true).truncate(false).read(true).write(true);
            options.open(&path).unwrap()
        };
        let (one, two) = (open(), open());
        let far = 1 << 40;
        for at in [0, 7, far] {
            assert!(try_lock(&one, at..at + 1, Kind::Exclusive).unwrap());
            assert!(!try_lock(&two, at..at + 1, Kind::Exclusive).unwrap());
            assert!(!try_lock(&two, at..at + 9, Kind::Shared).unwrap());
            assert!(try_lock(&two, at + 1..at + 2, Kind::Exclusive).unwrap());
        }
        unlock(&one, 7..8);
        assert!(try_lock(&two, 7..8, Kind::Shared).unwrap());
        assert!(try_lock(&one, 7..8, Kind::Shared).unwrap());
        drop(one);
        assert!(try_lock(&two, far..far + 1, Kind::Exclusive).unwrap());
    }

    #[test]
    fn an_empty_range_is_not_the_rest_of_the_file() {
        let one = tempfile::NamedTempFile::new().unwrap();
        let two = one.reopen().unwrap();
        assert!(try_lock(one.as_file(), 5..5, Kind::Exclusive).unwrap());
        assert!(try_lock(&two, 5..6, Kind::Exclusive).unwrap());
    }
}
