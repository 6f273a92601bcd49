//! A proof as JSON (`docs/format.md`, section 6). Nothing in it is there twice,
//! and what follows from something else is not in it.

use serde::{Deserialize, Serialize};

use crate::image::model::FileType;
use crate::image::proof::ListHead;
pub use crate::image::witness::text::{Bytes, Hash, Mode, Root, Text};

/// Version of the document that this program writes and reads.
pub const VERSION: u32 = 1;

/// A proof that a root digest covers a node under a path.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of the document.
    #[serde(rename = "tidegate-proof")]
    pub version: u32,
    /// The root digest that the proof claims.
    pub root: Root,
    /// What the root digest covers besides the root directory.
    pub image: Head,
    /// Path of the node from the root, with a slash before it.
    pub path: Text,
    /// The directories on the way, from the root.
    pub steps: Vec<Step>,
    /// For a later name of a hard link: the node's canonical name, and the
    /// directories on the way to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canonical: Option<Canonical>,
    /// The node itself.
    pub node: Node,
}

/// What the root digest covers besides the root directory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Version of the integrity section.
    pub version: u32,
    /// Its must-understand bits.
    pub must_understand: u64,
    /// Bytes of every chunk but a file's last.
    pub chunk_size: u32,
    /// Algorithm of the chunks' digests.
    pub chunk_digest: ChunkDigest,
}

/// Names of the algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChunkDigest {
    /// BLAKE3.
    Blake3,
    /// SHA-256.
    Sha256,
}

/// The second part of a hard link's proof.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canonical {
    /// The canonical name's path.
    pub path: Text,
    /// The directories on the way, from the root.
    pub steps: Vec<Step>,
}

/// A directory, and the group of its entries that has the next name of a path.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The directory's own attributes.
    pub attributes: Attributes,
    /// Head of its entry list.
    pub list: ListCounts,
    /// Number of the group of 128 entries.
    pub group: u64,
    /// The group's entries, ascending by name: name, type byte, digest.
    pub entries: Vec<(Text, u8, Hash)>,
    /// For each level above the groups, lowest first, the other hashes under
    /// the same inner node, in order.
    pub siblings: Vec<Vec<Hash>>,
}

/// Counts of an entry list.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListCounts {
    /// Number of entries.
    pub count: u64,
    /// How many of them are directories.
    pub directories: u64,
    /// Bytes of all names together.
    pub name_bytes: u64,
}

impl From<ListHead> for ListCounts {
    fn from(head: ListHead) -> Self {
        Self {
            count: head.count,
            directories: head.directories,
            name_bytes: head.name_bytes,
        }
    }
}

impl From<ListCounts> for ListHead {
    fn from(list: ListCounts) -> Self {
        Self {
            count: list.count,
            directories: list.directories,
            name_bytes: list.name_bytes,
        }
    }
}

/// Attributes that every node has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Mode,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds.
    pub mtime: i64,
    /// Nanoseconds of the modification time.
    pub mtime_ns: u32,
    /// Full names and values, ascending by name.
    pub xattrs: Vec<(Text, Bytes)>,
}

/// The node that is proved.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its attributes.
    pub attributes: Attributes,
    /// Its type, and what only that type has.
    pub content: Content,
}

/// Type and content of a node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Content {
    /// A regular file.
    File {
        /// Number of names.
        nlink: u32,
        /// Bytes.
        size: u64,
        /// Digest of each chunk.
        chunks: Vec<Hash>,
    },
    /// A directory.
    Directory {
        /// Head of its entry list.
        list: ListCounts,
        /// Hash at the top of its entry list; zeros if it is empty.
        top: Hash,
    },
    /// A symbolic link.
    Symlink {
        /// Number of names.
        nlink: u32,
        /// Where it leads.
        target: Text,
    },
    /// A character device.
    CharDevice {
        /// Number of names.
        nlink: u32,
        /// Device number in Linux's 32-bit encoding.
        rdev: u32,
    },
    /// A block device.
    BlockDevice {
        /// Number of names.
        nlink: u32,
        /// Device number in Linux's 32-bit encoding.
        rdev: u32,
    },
    /// A named pipe.
    Fifo {
        /// Number of names.
        nlink: u32,
    },
    /// A socket.
    Socket {
        /// Number of names.
        nlink: u32,
    },
}

impl Content {
    /// The type.
    pub fn file_type(&self) -> FileType {
        match self {
            Self::File { .. } => FileType::Regular,
            Self::Directory { .. } => FileType::Directory,
            Self::Symlink { .. } => FileType::Symlink,
            Self::CharDevice { .. } => FileType::CharDevice,
            Self::BlockDevice { .. } => FileType::BlockDevice,
            Self::Fifo { .. } => FileType::Fifo,
            Self::Socket { .. } => FileType::Socket,
        }
    }
}
