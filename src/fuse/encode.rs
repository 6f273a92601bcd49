//! Nodes, entries and directories in the kernel's layout.

use std::time::Duration;

use fuse_backend_rs::abi::fuse_abi as abi;

use super::wire::encode;
use crate::fs::{Attr, DirEntry, Entry, StatFs};

/// Block size that `stat` shows, in bytes.
const BLOCK_SIZE: u32 = 4096;

/// Directory entries are padded to this.
const DIRENT_ALIGN: usize = 8;

fn attr(from: &Attr) -> abi::Attr {
    let (seconds, nanos) = from.mtime;
    // The field is unsigned on the wire and read back as signed by the kernel.
    let seconds = seconds.cast_unsigned();
    abi::Attr {
        ino: from.ino,
        size: from.size,
        blocks: from.blocks,
        atime: seconds,
        mtime: seconds,
        ctime: seconds,
        atimensec: nanos,
        mtimensec: nanos,
        ctimensec: nanos,
        mode: from.mode,
        nlink: from.nlink,
        uid: from.uid,
        gid: from.gid,
        rdev: from.rdev,
        blksize: BLOCK_SIZE,
        flags: 0,
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
        files: figures.files,
        bsize: BLOCK_SIZE,
        frsize: BLOCK_SIZE,
        namelen: 255,
        ..abi::Kstatfs::default()
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
