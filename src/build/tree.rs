//! The tree of an image while it is built: what a source yields, what the
//! blob writer adds chunks to, what the bootstrap writer lays out.

use std::path::PathBuf;
use std::sync::Arc;

/// Position of a node in [`Tree::nodes`]; the root is 0.
pub type NodeIndex = usize;

/// Extended attributes: full name and value, sorted by name bytes.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

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
    pub xattrs: Xattrs,
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
    /// In blobs: the file's chunks are known and nothing is left to cut.
    Blobs,
}

impl Tree {
    /// The reachable nodes in build order: depth first, parents before their
    /// entries, entries by name, each inode where its first name stands.
    pub fn preorder(&self) -> Vec<NodeIndex> {
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut seen = vec![false; self.nodes.len()];
        let mut stack = vec![0];
        while let Some(index) = stack.pop() {
            let (Some(node), Some(seen)) = (self.nodes.get(index), seen.get_mut(index)) else {
                continue;
            };
            if std::mem::replace(seen, true) {
                continue;
            }
            order.push(index);
            if let Content::Directory(entries) = &node.content {
                stack.extend(entries.iter().rev().map(|(_, child)| *child));
            }
        }
        order
    }

    /// The node at `path`, names separated by slashes; the empty path is the
    /// root.
    pub fn find(&self, path: &[u8]) -> Option<NodeIndex> {
        let names = path
            .split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty());
        names
            .into_iter()
            .try_fold(0, |at, name| match &self.nodes.get(at)?.content {
                Content::Directory(entries) => {
                    let found = entries
                        .binary_search_by(|(entry, _)| entry.as_ref().cmp(name))
                        .ok()?;
                    entries.get(found).map(|(_, child)| *child)
                }
                _ => None,
            })
    }
}

/// A device number in the kernel's 32-bit encoding (`new_encode_dev` in
/// Linux's kdev_t.h): 12 bits of major, 20 bits of minor. None if the numbers
/// do not fit.
pub fn device_number(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20)
        .then_some((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_encoded_as_the_kernel_does() {
        assert_eq!(device_number(259, 300), Some(0x0011_032c));
        assert_eq!(device_number(1, 3), Some(0x103));
        assert_eq!(device_number(4096, 0), None);
        assert_eq!(device_number(0, 1 << 20), None);
    }
}
