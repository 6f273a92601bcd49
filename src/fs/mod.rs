//! The file system: what `fuse` asks and what answers it.
//!
//! [`FileSystem`] is the trait that the FUSE server is written against;
//! [`ImageFs`] implements it over an image and a chunk store; [`touches`] is
//! its memory of what was read first. [`GoneFs`] stands for one that is no more. [`passthrough`] over a directory of the host;
//! [`operation`] is what file systems that can be written are asked besides. [`mounts`] puts many file systems into one tree;
//! [`stats`] counts what each was asked.
//! May use: `image`, `store`, `state`, `chunk`, `destination`, `payload`. Used by: `fuse`,
//! the transports, `cli`.

mod gone;
mod id_mapping;
mod image;
pub mod mounts;
mod nodes;
pub mod operation;
pub mod passthrough;
pub mod stats;
pub mod touches;
pub mod walk;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::destination::Destination;

pub use self::gone::GoneFs;
pub use self::id_mapping::IdMapping;
pub use self::image::ImageFs;
use self::operation::{Caller, Operation, Reply, Wants};
use self::stats::Stats;

/// An errno that a request is answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl Errno {
    /// No such entry.
    pub const ENOENT: Self = Self(libc::ENOENT);
    /// A proof, a fetch or a disk failed.
    pub const EIO: Self = Self(libc::EIO);
    /// The request makes no sense.
    pub const EINVAL: Self = Self(libc::EINVAL);
    /// The node id is not one that was handed out.
    pub const ESTALE: Self = Self(libc::ESTALE);
    /// The operation does not exist here; the kernel will not ask again.
    pub const ENOSYS: Self = Self(libc::ENOSYS);
    /// The file system cannot be written.
    pub const EROFS: Self = Self(libc::EROFS);
    /// Not a directory.
    pub const ENOTDIR: Self = Self(libc::ENOTDIR);
    /// A directory where a file is wanted.
    pub const EISDIR: Self = Self(libc::EISDIR);
    /// No such extended attribute.
    pub const ENODATA: Self = Self(libc::ENODATA);
    /// The answer does not fit in what the caller offers.
    pub const ERANGE: Self = Self(libc::ERANGE);
    /// The name exists already.
    pub const EEXIST: Self = Self(libc::EEXIST);
    /// In use.
    pub const EBUSY: Self = Self(libc::EBUSY);
    /// From one file system to another.
    pub const EXDEV: Self = Self(libc::EXDEV);
    /// No such handle, or not one for this.
    pub const EBADF: Self = Self(libc::EBADF);
    /// Not possible here.
    pub const EOPNOTSUPP: Self = Self(libc::EOPNOTSUPP);
    /// The name is longer than 255 bytes.
    pub const ENAMETOOLONG: Self = Self(libc::ENAMETOOLONG);
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<std::io::Error> for Errno {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self(errno),
            None if error.kind() == std::io::ErrorKind::InvalidInput => Self::EINVAL,
            None => Self::EIO,
        }
    }
}

/// Attributes of a node as `stat` shows them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits (`st_mode`).
    pub mode: u32,
    /// Number of links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number in the kernel's 32-bit encoding.
    pub rdev: u32,
    /// Size in bytes.
    pub size: u64,
    /// 512-byte blocks.
    pub blocks: u64,
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Access and change time; images keep neither, and show the modification
    /// time as both.
    pub other_times: Option<OtherTimes>,
    /// Size of a good read or write in bytes.
    pub block_size: u32,
    /// Whether another file system of the host is mounted here.
    pub submount: bool,
}

/// Times of a node that images do not keep, each in seconds and nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OtherTimes {
    /// Access time.
    pub atime: (i64, u32),
    /// Change time.
    pub ctime: (i64, u32),
}

/// Block size of what has no own, in bytes.
pub const BLOCK_SIZE: u32 = 4096;

impl Entry {
    /// That there is no such name, which may be kept for `timeout`.
    pub const fn absent(timeout: Duration) -> Self {
        Self {
            node: 0,
            attr: Attr {
                ino: 0,
                mode: 0,
                nlink: 0,
                uid: 0,
                gid: 0,
                rdev: 0,
                size: 0,
                blocks: 0,
                mtime: (0, 0),
                other_times: None,
                block_size: BLOCK_SIZE,
                submount: false,
            },
            timeout,
        }
    }
}

/// Answer to LOOKUP: a node and how long the guest may keep it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Node id for later requests.
    pub node: u64,
    /// The node's attributes.
    pub attr: Attr,
    /// How long name and attributes stay valid.
    pub timeout: Duration,
}

/// One name in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirEntry<'a> {
    /// Inode number.
    pub ino: u64,
    /// `DT_*` type.
    pub kind: u8,
    /// The name.
    pub name: &'a [u8],
    /// Offset from which to go on behind this entry.
    pub next: u64,
}

/// Figures for STATFS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatFs {
    /// Blocks of `block_size` bytes.
    pub blocks: u64,
    /// Blocks that are free.
    pub free: u64,
    /// Blocks that are free for all users.
    pub available: u64,
    /// Inodes.
    pub files: u64,
    /// Inodes that are free.
    pub free_files: u64,
    /// Size of a block in bytes.
    pub block_size: u32,
    /// Longest name in bytes.
    pub name_max: u32,
}

impl StatFs {
    /// Of a file system that is full and cannot be written.
    pub const fn read_only(blocks: u64, files: u64) -> Self {
        Self {
            blocks,
            free: 0,
            available: 0,
            files,
            free_files: 0,
            block_size: BLOCK_SIZE,
            name_max: 255,
        }
    }
}

/// The bytes of a read that had to wait: proved pieces in order.
pub type Pieces = Vec<Bytes>;

/// A read that is under way.
pub type PendingRead = Pin<Box<dyn Future<Output = Result<Pieces, Errno>> + Send + 'static>>;

/// What became of a read.
pub enum Read {
    /// The first so many bytes of the destination hold the answer (0 at end of
    /// file), or the read failed.
    Ready(Result<usize, Errno>),
    /// The bytes come later; the destination holds nothing of use. The future
    /// must be polled inside the runtime of [`crate::runtime`].
    Pending(PendingRead),
}

/// A file system that can be served over FUSE. One that opens or changes files
/// implements [`FileSystem::perform`] too.
///
/// All methods but the futures inside [`Read::Pending`] and [`Reply::Later`] are
/// called on queue threads: they may read local metadata, but never wait for a
/// fetch.
pub trait FileSystem: Send + Sync + 'static {
    /// A new session begins (INIT): node ids of an earlier one are forgotten.
    fn init(&self);

    /// Learns what the INIT that [`FileSystem::init`] told of agreed on: bits of
    /// the protocol, which go on in [`FileSystem::agreement`].
    fn agreed(&self, _options: u64) {}

    /// What the last session agreed on, if it is older than this process; else 0.
    fn agreement(&self) -> u64 {
        0
    }

    /// Finds `name` in directory `parent` and takes one reference to the node.
    /// An entry with node id 0 says that there is no such name, and how long
    /// the guest may keep that.
    fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno>;

    /// Drops `count` references to `node`; unknown nodes are ignored.
    fn forget(&self, node: u64, count: u64);

    /// As [`FileSystem::lookup`], with a reference that is not the guest's: INIT
    /// leaves it alone, and a daemon after a crash does not find it. It is given back
    /// with [`FileSystem::let_go`].
    fn hold(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        self.lookup(parent, name)
    }

    /// Drops one reference of [`FileSystem::hold`].
    fn let_go(&self, node: u64) {
        self.forget(node, 1);
    }

    /// Attributes of a node and how long they stay valid.
    fn getattr(&self, node: u64) -> Result<(Attr, Duration), Errno>;

    /// Target of a symbolic link.
    fn readlink(&self, node: u64) -> Result<Vec<u8>, Errno>;

    /// Value of an extended attribute.
    fn getxattr(&self, node: u64, name: &[u8]) -> Result<Vec<u8>, Errno>;

    /// Names of all extended attributes, each ended by NUL.
    fn listxattr(&self, node: u64) -> Result<Vec<u8>, Errno>;

    /// Reads a directory, opened as `handle` (0: not opened), from `offset` (0 or
    /// an entry's `next`) on: calls `add` per entry until it returns false, which
    /// means the entry did not fit. `.` and `..` are included.
    fn readdir(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno>;

    /// As [`FileSystem::readdir`], with a LOOKUP per entry: each entry that
    /// `add` accepts holds one reference, except `.` and `..`, for which the
    /// entry is `None`.
    fn readdirplus(
        &self,
        node: u64,
        handle: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<Entry>) -> bool,
    ) -> Result<(), Errno>;

    /// Figures of the file system that `node` is in.
    fn statfs(&self, node: u64) -> Result<StatFs, Errno>;

    /// Reads up to `dest.len()` bytes at `offset` of file `node`, opened as
    /// `handle` (0: not opened).
    fn read(&self, node: u64, handle: u64, offset: u64, dest: &mut Destination<'_>) -> Read;

    /// Carries out a request about `node` that opens, changes or flushes
    /// something. `ENOSYS`, the default, says that there is no such thing here;
    /// the server makes of it what a read-only file system answers.
    ///
    /// # Errors
    /// Whatever the guest is to be told.
    fn perform(
        &self,
        _caller: Caller,
        _node: u64,
        _operation: Operation<'_>,
    ) -> Result<Reply, Errno> {
        Err(Errno::ENOSYS)
    }

    /// What sessions must agree on. If it says that files are opened, requests
    /// reach [`FileSystem::perform`]; else the server refuses them by itself.
    fn wants(&self) -> Wants {
        Wants::default()
    }

    /// Whether the guest holds any node but the root.
    fn is_held(&self) -> bool {
        true
    }

    /// Hands out the figures that requests about `node` are counted in, if they
    /// are others than those of the whole device; says whether it did.
    fn count(&self, _node: u64, _with: &mut dyn FnMut(&Arc<Stats>)) -> bool {
        false
    }
}
