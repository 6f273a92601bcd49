//! What nodes hold, whichever format they are loaded from.

use std::sync::Arc;

use crate::chunk::Chunk;
use crate::image::directory::ErofsDirectory;
use crate::image::file::ErofsFile;
use crate::image::list::List;
use crate::image::v5::directory::V5Directory;
use crate::image::v5::file::V5File;

/// What a node holds.
#[derive(Debug)]
pub enum Content {
    /// A regular file.
    File(File),
    /// A directory.
    Directory(Directory),
    /// The target of a symbolic link.
    Symlink(Box<[u8]>),
    /// A device, FIFO or socket.
    Special,
}

/// A loaded regular file.
#[derive(Debug)]
pub enum File {
    /// Of a RAFS v6 image.
    Erofs(ErofsFile),
    /// Of a RAFS v5 image.
    V5(V5File),
}

/// A loaded directory.
#[derive(Debug)]
pub enum Directory {
    /// Of a RAFS v6 image.
    Erofs(ErofsDirectory),
    /// Of a RAFS v5 image.
    V5(V5Directory),
}

/// Chunks that stand one after the other in a file.
#[derive(Clone, Debug)]
pub struct ChunkGroup {
    /// Position of the first in the file's chunk list.
    pub start: u64,
    /// The chunks.
    pub chunks: Arc<[Chunk]>,
}

impl Content {
    /// Memory that the value holds, in bytes.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::File(File::Erofs(file)) => file.memory(),
            Self::File(File::V5(file)) => file.memory(),
            Self::Directory(Directory::Erofs(directory)) => directory.memory(),
            Self::Directory(Directory::V5(directory)) => directory.memory(),
            Self::Symlink(target) => target.len(),
            Self::Special => 0,
        }
    }
}

impl File {
    /// Number of chunks.
    pub fn chunks(&self) -> u64 {
        match self {
            Self::Erofs(file) => file.chunks(),
            Self::V5(file) => file.chunks(),
        }
    }
}

impl Directory {
    /// The entry list that is proved; none without a section.
    pub(crate) fn entry_list(&self) -> Option<&List> {
        match self {
            Self::Erofs(directory) => directory.entry_list(),
            Self::V5(_) => None,
        }
    }

    /// Number of groups of entries.
    pub fn groups(&self) -> u64 {
        match self {
            Self::Erofs(directory) => directory.groups(),
            Self::V5(directory) => directory.groups(),
        }
    }
}
