//! Opens paths of any length: the kernel takes at most 4095 bytes at once, a
//! deep tree has more.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Result;

/// Longest path, in bytes, that the kernel resolves in one call.
pub(super) const PATH_LIMIT: usize = 4095;

/// Longest piece that is resolved at once on the way to a longer path.
const PIECE_LIMIT: usize = 4000;

/// Opens `path` read-only with `flags` besides; close-on-exec is implied.
pub(super) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut rest = path.as_os_str().as_bytes();
    let mut at: Option<OwnedFd> = None;
    while rest.len() > PATH_LIMIT {
        let head = rest.get(..PIECE_LIMIT).unwrap_or(rest);
        let Some(cut) = head.iter().rposition(|byte| *byte == b'/') else {
            return Err(rustix::io::Errno::NAMETOOLONG);
        };
        // The slash stays with the head: a leading one must not get lost.
        let (head, tail) = rest.split_at(cut + 1);
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        at = Some(open_from(at.as_ref(), head, way)?);
        rest = tail;
        while let Some(tail) = rest.strip_prefix(b"/") {
            rest = tail;
        }
    }
    open_from(at.as_ref(), rest, flags)
}

fn open_from(at: Option<&OwnedFd>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let path = OsStr::from_bytes(path);
    match at {
        Some(at) => openat(at, path, flags, Mode::empty()),
        None => openat(CWD, path, flags, Mode::empty()),
    }
}
