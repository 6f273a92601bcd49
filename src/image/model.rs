//! Types, attributes and references of nodes: the words of an image.

use crate::chunk::Digest;

/// Longest name of an entry in bytes.
pub const NAME_MAX: usize = 255;

/// Longest target of a symbolic link in bytes.
pub const TARGET_MAX: usize = 4095;

/// Type of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FileType {
    /// Named pipe.
    Fifo,
    /// Character device.
    CharDevice,
    /// Directory.
    Directory,
    /// Block device.
    BlockDevice,
    /// Regular file.
    Regular,
    /// Symbolic link.
    Symlink,
    /// Socket.
    Socket,
}

impl FileType {
    /// The type's `DT_*` number, which is `S_IFMT >> 12`; also its byte in
    /// proofs.
    pub fn code(self) -> u8 {
        match self {
            Self::Fifo => 1,
            Self::CharDevice => 2,
            Self::Directory => 4,
            Self::BlockDevice => 6,
            Self::Regular => 8,
            Self::Symlink => 10,
            Self::Socket => 12,
        }
    }

    /// The type in `st_mode`.
    pub fn from_mode(mode: u16) -> Option<Self> {
        Some(match mode >> 12 {
            1 => Self::Fifo,
            2 => Self::CharDevice,
            4 => Self::Directory,
            6 => Self::BlockDevice,
            8 => Self::Regular,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }

    /// The type's number in an EROFS directory entry.
    pub fn dirent(self) -> u8 {
        match self {
            Self::Regular => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }

    /// The type of an EROFS directory entry's number.
    pub fn from_dirent(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Regular,
            2 => Self::Directory,
            3 => Self::CharDevice,
            4 => Self::BlockDevice,
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::Symlink,
            _ => return None,
        })
    }
}

/// Attributes of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Type.
    pub file_type: FileType,
    /// Permission bits, `mode & 0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since the epoch.
    pub mtime: i64,
    /// Nanoseconds of the modification time.
    pub mtime_ns: u32,
    /// Number of names; for a directory 2 and one for each child directory.
    pub nlink: u32,
    /// Device number in the kernel's 32-bit encoding; 0 for what is no device.
    pub rdev: u32,
    /// Bytes of a file, of a link's target, or that a directory shows.
    pub size: u64,
}

impl Attr {
    /// `st_mode`: type and permission bits.
    pub fn st_mode(&self) -> u32 {
        u32::from(self.file_type.code()) << 12 | u32::from(self.mode)
    }

    /// 512-byte blocks to show.
    pub fn blocks(&self) -> u64 {
        match self.file_type {
            FileType::Regular | FileType::Directory => self.size.div_ceil(512),
            _ => 0,
        }
    }
}

/// What a directory entry (or the root) says about a node before it is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeRef {
    /// EROFS node number, which is also the inode number that users see.
    pub nid: u64,
    /// The proved digest that the node must have, and where its record in the
    /// integrity section is; none in images without a section.
    pub proof: Option<NodeProof>,
}

/// The proved part of a [`NodeRef`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeProof {
    /// The node's digest.
    pub digest: Digest,
    /// Offset of the node's record in the integrity section; 0 for none. A
    /// hint: what it leads to is proved.
    pub record: u64,
}
