//! The file system: what `fuse` asks and what answers it.
//!
//! [`FileSystem`] is the trait that the FUSE server is written against;
//! [`ImageFs`] implements it over an image and a chunk store; [`touches`] is
//! its memory of what was read first. [`mounts`] puts many file systems into one
//! tree; [`stats`] counts what each was asked.
//! May use: `image`, `store`, `chunk`, `destination`. Used by: `fuse`, the
//! transports, `cli`.

mod image;
pub mod mounts;
mod nodes;
pub mod stats;
pub mod touches;
pub mod walk;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::destination::Destination;

pub use self::image::ImageFs;
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
    /// The name is longer than 255 bytes.
    pub const ENAMETOOLONG: Self = Self(libc::ENAMETOOLONG);
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
    /// Modification time: seconds and nanoseconds. Images keep no other times;
    /// access and change time are shown as this one.
    pub mtime: (i64, u32),
}

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
    /// Blocks of 4096 bytes.
    pub blocks: u64,
    /// Inodes.
    pub files: u64,
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

/// A file system that can be served over FUSE. Read-only for now: requests
/// that write are answered by the server with `EROFS`.
///
/// All methods but the future inside [`Read::Pending`] are called on queue
/// threads: they may read local metadata, but never wait for a fetch.
pub trait FileSystem: Send + Sync + 'static {
    /// A new session begins (INIT): node ids of an earlier one are forgotten.
    fn init(&self);

    /// Finds `name` in directory `parent` and takes one reference to the node.
    /// An entry with node id 0 says that there is no such name, and how long
    /// the guest may keep that.
    fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno>;

    /// Drops `count` references to `node`; unknown nodes are ignored.
    fn forget(&self, node: u64, count: u64);

    /// Attributes of a node and how long they stay valid.
    fn getattr(&self, node: u64) -> Result<(Attr, Duration), Errno>;

    /// Target of a symbolic link.
    fn readlink(&self, node: u64) -> Result<Vec<u8>, Errno>;

    /// Value of an extended attribute.
    fn getxattr(&self, node: u64, name: &[u8]) -> Result<Vec<u8>, Errno>;

    /// Names of all extended attributes, each ended by NUL.
    fn listxattr(&self, node: u64) -> Result<Vec<u8>, Errno>;

    /// Reads a directory from `offset` (0 or an entry's `next`) on: calls
    /// `add` per entry until it returns false, which means the entry did not
    /// fit. `.` and `..` are included.
    fn readdir(
        &self,
        node: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<(), Errno>;

    /// As [`FileSystem::readdir`], with a LOOKUP per entry: each entry that
    /// `add` accepts holds one reference, except `.` and `..`, for which the
    /// entry is `None`.
    fn readdirplus(
        &self,
        node: u64,
        offset: u64,
        add: &mut dyn FnMut(DirEntry<'_>, Option<Entry>) -> bool,
    ) -> Result<(), Errno>;

    /// Figures of the file system that `node` is in.
    fn statfs(&self, node: u64) -> Result<StatFs, Errno>;

    /// Reads up to `dest.len()` bytes of file `node` at `offset`.
    fn read(&self, node: u64, offset: u64, dest: &mut Destination<'_>) -> Read;

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
