//! Nodes, entries and directories in the kernel's layout.

use std::time::Duration;

use fuse_backend_rs::abi::fuse_abi::{self as abi, ATTR_SUBMOUNT};

use super::wire::encode;
use crate::fs::operation::Opened;
use crate::fs::{Attr, DirEntry, Entry, OtherTimes, StatFs};

/// Directory entries are padded to this.
const DIRENT_ALIGN: usize = 8;

fn attr(from: &Attr) -> abi::Attr {
    let mtime = from.mtime;
    let OtherTimes { atime, ctime } = from.other_times.unwrap_or(OtherTimes {
        atime: mtime,
        ctime: mtime,
    });
    abi::Attr {
        ino: from.ino,
        size: from.size,
        blocks: from.blocks,
        // The fields are unsigned on the wire and read back as signed by the
        // kernel.
        atime: atime.0.cast_unsigned(),
        mtime: mtime.0.cast_unsigned(),
        ctime: ctime.0.cast_unsigned(),
        atimensec: atime.1,
        mtimensec: mtime.1,
        ctimensec: ctime.1,
        mode: from.mode,
        nlink: from.nlink,
        uid: from.uid,
        gid: from.gid,
        rdev: from.rdev,
        blksize: from.block_size,
        flags: if from.submount { ATTR_SUBMOUNT } else { 0 },
    }
}

/// Reply to GETATTR.
pub(super) fn attr_out(node: &Attr, timeout: Duration) -> abi::AttrOut {
    abi::AttrOut {
        attr_valid: timeout.as_secs(),
        attr_valid_nsec: timeout.subsec_nanos(),
        dummy: 0,
        attr: attr(node),
    }
}

/// Reply to LOOKUP. An entry with node 0 says that the name does not exist and
/// how long that may be remembered.
pub(super) fn entry_out(entry: &Entry) -> abi::EntryOut {
    abi::EntryOut {
        nodeid: entry.node,
        generation: 0,
        entry_valid: entry.timeout.as_secs(),
        attr_valid: entry.timeout.as_secs(),
        entry_valid_nsec: entry.timeout.subsec_nanos(),
        attr_valid_nsec: entry.timeout.subsec_nanos(),
        attr: attr(&entry.attr),
    }
}

/// Reply to STATFS.
pub(super) fn statfs_out(figures: StatFs) -> abi::Kstatfs {
    abi::Kstatfs {
        blocks: figures.blocks,
        bfree: figures.free,
        bavail: figures.available,
        files: figures.files,
        ffree: figures.free_files,
        bsize: figures.block_size,
        frsize: figures.block_size,
        namelen: figures.name_max,
        ..abi::Kstatfs::default()
    }
}

/// Reply to OPEN and OPENDIR.
pub(super) fn open_out(opened: &Opened) -> abi::OpenOut {
    let flags = [
        (opened.keep_cache, abi::OpenOptions::KEEP_CACHE),
        (opened.direct, abi::OpenOptions::DIRECT_IO),
        (opened.cache_listing, abi::OpenOptions::CACHE_DIR),
    ];
    let flags = flags.into_iter().filter(|(wanted, _)| *wanted);
    abi::OpenOut {
        fh: opened.handle,
        open_flags: flags.map(|(_, flag)| flag.bits()).sum(),
        passthrough: 0,
    }
}

/// Appends an entry of READDIR, or of READDIRPLUS when `plus` is given (with
/// `None` inside for `.` and `..`), unless the reply would become longer than
/// `limit` bytes. Returns whether it fitted.
pub(super) fn dirent(
    reply: &mut Vec<u8>,
    limit: usize,
    entry: &DirEntry<'_>,
    plus: Option<Option<Entry>>,
) -> bool {
    let Ok(namelen) = u32::try_from(entry.name.len()) else {
        return false;
    };
    let head = match plus {
        Some(_) => size_of::<abi::Direntplus>(),
        None => size_of::<abi::Dirent>(),
    };
    let end = (reply.len() + head + entry.name.len()).next_multiple_of(DIRENT_ALIGN);
    if end > limit {
        return false;
    }
    if let Some(node) = plus {
        encode(reply, &node.as_ref().map(entry_out).unwrap_or_default());
    }
    let dirent = abi::Dirent {
        ino: entry.ino,
        off: entry.next,
        namelen,
        type_: u32::from(entry.kind),
    };
    encode(reply, &dirent);
    reply.extend_from_slice(entry.name);
    reply.resize(end, 0);
    true
}
