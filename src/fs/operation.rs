//! What a guest may ask of a file system that opens and changes files, and what
//! it is answered.
//!
//! These requests are values and not methods, so that a file system that has
//! none of them says nothing, and one that passes them on passes on one thing.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::{Attr, Entry, Errno};
use crate::payload::Payload;

/// Who asks: the thread's ids in the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Caller {
    /// File system user id.
    pub uid: u32,
    /// File system group id.
    pub gid: u32,
    /// Whether the request may have been carried out before: a daemon took it and
    /// died before it answered. What finds its own result has succeeded.
    pub again: bool,
    /// Another group of the thread's, if it decides what becomes of something that
    /// is made: that of the directory.
    pub group: Option<u32>,
}

/// What becomes of something that is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Making {
    /// Permission bits, and for MKNOD the type.
    pub mode: u32,
    /// The guest's umask, where the guest left it to us (`FUSE_DONT_MASK`);
    /// else 0.
    pub umask: u32,
}

/// What SETATTR changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<SetTime>,
    /// Modification time.
    pub mtime: Option<SetTime>,
    /// Whether set-user-id and set-group-id bits go (`FUSE_HANDLE_KILLPRIV_V2`).
    pub kill_privileges: bool,
}

/// A time to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetTime {
    /// The host's time.
    Now,
    /// Seconds since 1970 and nanoseconds.
    At(i64, u32),
}

/// A file and the handle that it was opened as; 0 when the guest opened none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenFile {
    /// Node id.
    pub node: u64,
    /// Handle.
    pub handle: u64,
}

/// A request about a node that the trait has no method for.
pub enum Operation<'a> {
    /// OPEN, with flags of `open(2)`.
    Open {
        /// `O_*`.
        flags: u32,
        /// Whether set-user-id bits go with `O_TRUNC`.
        kill_privileges: bool,
    },
    /// OPENDIR.
    OpenDir,
    /// RELEASE and RELEASEDIR.
    Release(u64),
    /// CREATE in this directory: makes the file if there is none, opens it.
    Create {
        /// Its name.
        name: &'a [u8],
        /// `O_*`.
        flags: u32,
        /// Its permissions.
        making: Making,
        /// Whether set-user-id bits go with `O_TRUNC`.
        kill_privileges: bool,
    },
    /// TMPFILE: a file without a name in this directory.
    TmpFile {
        /// `O_*`.
        flags: u32,
        /// Its permissions.
        making: Making,
    },
    /// MKNOD.
    Mknod {
        /// Its name.
        name: &'a [u8],
        /// Its type and permissions.
        making: Making,
        /// Device number in the kernel's 32-bit encoding.
        rdev: u32,
    },
    /// MKDIR.
    Mkdir {
        /// Its name.
        name: &'a [u8],
        /// Its permissions.
        making: Making,
    },
    /// SYMLINK.
    Symlink {
        /// Its name.
        name: &'a [u8],
        /// What it points to.
        target: &'a [u8],
    },
    /// LINK: another name, in this directory, for a node.
    Link {
        /// The node.
        node: u64,
        /// Its new name.
        name: &'a [u8],
    },
    /// UNLINK.
    Unlink(&'a [u8]),
    /// RMDIR.
    Rmdir(&'a [u8]),
    /// RENAME and RENAME2 out of this directory.
    Rename {
        /// The name.
        name: &'a [u8],
        /// The directory that it goes to.
        to: u64,
        /// Its name there.
        to_name: &'a [u8],
        /// `RENAME_*`.
        flags: u32,
    },
    /// SETATTR.
    SetAttr(SetAttr),
    /// WRITE.
    Write {
        /// The handle.
        handle: u64,
        /// Where to, in bytes.
        offset: u64,
        /// What.
        data: Payload<'a>,
        /// Whether set-user-id bits go.
        kill_privileges: bool,
    },
    /// FLUSH: a descriptor of the handle was closed.
    Flush(u64),
    /// FSYNC.
    Fsync {
        /// The handle.
        handle: u64,
        /// Whether data is enough.
        data_only: bool,
    },
    /// FSYNCDIR.
    FsyncDir {
        /// The handle.
        handle: u64,
        /// Whether data is enough.
        data_only: bool,
    },
    /// SETXATTR.
    SetXattr {
        /// Its name.
        name: &'a [u8],
        /// Its value.
        value: &'a [u8],
        /// `XATTR_*`.
        flags: u32,
        /// Whether the set-group-id bit goes (`FUSE_SETXATTR_ACL_KILL_SGID`).
        kill_sgid: bool,
    },
    /// REMOVEXATTR.
    RemoveXattr(&'a [u8]),
    /// FALLOCATE.
    Fallocate {
        /// The handle.
        handle: u64,
        /// `FALLOC_FL_*`.
        mode: u32,
        /// From where, in bytes.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// LSEEK.
    Lseek {
        /// The handle.
        handle: u64,
        /// From where, in bytes.
        offset: u64,
        /// `SEEK_*`.
        whence: u32,
    },
    /// COPY_FILE_RANGE out of this file.
    CopyRange {
        /// The handle.
        handle: u64,
        /// From where, in bytes.
        offset: u64,
        /// Where to.
        to: OpenFile,
        /// At which byte.
        to_offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// SYNCFS.
    SyncFs,
    /// ACCESS, with a mask of `*_OK`.
    Access(u32),
}

impl Operation<'_> {
    /// Whether this changes what the file system holds.
    pub fn changes(&self) -> bool {
        match self {
            Self::Open { flags, .. } => opens_for_writing(*flags),
            Self::OpenDir
            | Self::Release(_)
            | Self::Flush(_)
            | Self::Fsync { .. }
            | Self::FsyncDir { .. }
            | Self::Lseek { .. }
            | Self::SyncFs
            | Self::Access(_) => false,
            _ => true,
        }
    }
}

/// Whether flags of `open(2)` ask for more than reading.
pub fn opens_for_writing(flags: u32) -> bool {
    let writing = libc::O_ACCMODE | libc::O_TRUNC;
    flags & writing.cast_unsigned() != 0
}

/// How a file or directory was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Opened {
    /// Handle for later requests; 0 when none is needed.
    pub handle: u64,
    /// Whether what the guest has cached stays good (`FOPEN_KEEP_CACHE`).
    pub keep_cache: bool,
    /// Whether the guest caches no data (`FOPEN_DIRECT_IO`).
    pub direct: bool,
    /// Whether listings may be cached (`FOPEN_CACHE_DIR`).
    pub cache_listing: bool,
}

/// A change that is under way: a count, or 0.
pub type PendingChange = Pin<Box<dyn Future<Output = Result<u64, Errno>> + Send + 'static>>;

/// What became of an [`Operation`].
pub enum Reply {
    /// Done.
    Done,
    /// Bytes that were written or copied, or an offset.
    Count(u64),
    /// A node that was made or linked, with a reference to it.
    Entry(Entry),
    /// Attributes as they are now, and how long they stay valid.
    Attr(Attr, Duration),
    /// A handle.
    Opened(Opened),
    /// A node, with a reference to it, and a handle.
    Created(Entry, Opened),
    /// [`Reply::Done`] or [`Reply::Count`], later. The future must be polled
    /// inside the runtime of [`crate::runtime`].
    Later(PendingChange),
}

/// What a file system needs the guest to agree on when a session begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wants {
    /// Files are opened and written; else the guest may do without OPEN.
    pub opens: bool,
    /// Access control lists are kept and obeyed.
    pub posix_acl: bool,
    /// Directories are listed without attributes (no READDIRPLUS).
    pub plain_listings: bool,
    /// The guest gathers what it writes.
    pub writeback: bool,
    /// Files whose data the guest does not keep may be mapped by several.
    pub shared_maps: bool,
}
