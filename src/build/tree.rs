//! The tree of an image while it is built: what a source yields, what the
//! blob writer adds chunks to, what the bootstrap writer lays out.

use std::path::PathBuf;
use std::sync::Arc;

/// Position of a node in [`Tree::nodes`]; the root is 0.
pub type NodeIndex = usize;

/// All nodes of an image. Hard links are several directory entries with one
/// node index.
#[derive(Debug, Default)]
pub struct Tree {
    /// The nodes; the first is the root directory.
    pub nodes: Vec<Node>,
}

/// One inode.
#[derive(Debug, Clone)]
pub struct Node {
    /// Attributes.
    pub meta: Meta,
    /// Extended attributes by full name, sorted by name bytes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// What the node is and holds.
    pub content: Content,
}

/// Attributes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permission bits, `mode & 0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, seconds since the epoch (may be negative).
    pub mtime: i64,
    /// Nanoseconds of the modification time.
    pub mtime_ns: u32,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Content {
    /// A regular file.
    File(FileContent),
    /// A directory: entries sorted by name bytes, without `.` and `..`.
    Directory(Vec<(Box<[u8]>, NodeIndex)>),
    /// A symbolic link with its target.
    Symlink(Box<[u8]>),
    /// A character device with its number in the kernel's 32-bit encoding.
    CharDevice(u32),
    /// A block device with its number in the kernel's 32-bit encoding.
    BlockDevice(u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// A regular file: where its bytes come from and, once cut, its chunks.
#[derive(Debug, Clone)]
pub struct FileContent {
    /// Length in bytes.
    pub size: u64,
    /// Where the bytes are while building.
    pub data: Data,
    /// Indices into `Packed::chunks`, one per chunk of the file in order.
    pub chunks: Vec<u32>,
}

/// Where a file's bytes are while building.
#[derive(Debug, Clone)]
pub enum Data {
    /// A file of its own in a source directory.
    Path {
        /// Its path.
        path: PathBuf,
        /// Whether it occupies fewer blocks than its size needs, so that
        /// looking for holes pays.
        sparse: bool,
    },
    /// A range of an open file (a tar archive or a spool file).
    Range {
        /// The open file.
        file: Arc<std::fs::File>,
        /// Offset of the first byte.
        offset: u64,
        /// Name of the entry, for messages.
        name: Box<[u8]>,
    },
}
