//! Groups of directory entries: what is read, proved and kept together.

use crate::chunk::Digest;
use crate::image::model::{FileType, NodeRef};

/// A group in memory: node number of the directory, digest of its entry list,
/// number of the group.
pub(crate) type GroupKey = (u64, Digest, u64);

/// What stands behind a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The node.
    Node(NodeRef),
    /// A later name of a hard-linked node: the digest of the canonical path
    /// and where the path is in the bootstrap.
    Link {
        /// Node number that the entry claims.
        nid: u64,
        /// Digest of the canonical path.
        digest: Digest,
        /// Offset of the path in the section.
        path: u64,
    },
}

impl Target {
    /// The inode number to show.
    pub fn nid(&self) -> u64 {
        match self {
            Self::Node(node) => node.nid,
            Self::Link { nid, .. } => *nid,
        }
    }
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    name: (u32, u32),
    /// Type of the node.
    pub file_type: FileType,
    /// The node or where to find it.
    pub target: Target,
}

/// Entries that were read and proved together, ascending by name.
#[derive(Debug, Default)]
pub struct Group {
    entries: Vec<Entry>,
    names: Vec<u8>,
}

impl Group {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the group has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at `position` and its name.
    pub fn get(&self, position: usize) -> Option<(&[u8], &Entry)> {
        let entry = self.entries.get(position)?;
        Some((self.name(entry), entry))
    }

    pub(crate) fn memory(&self) -> usize {
        64 + self.entries.len() * size_of::<Entry>() + self.names.len()
    }

    pub(crate) fn last_name(&self) -> Option<&[u8]> {
        self.entries.last().map(|entry| self.name(entry))
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        self.names
            .get(entry.name.0 as usize..entry.name.1 as usize)
            .unwrap_or_default()
    }

    pub(crate) fn search(&self, name: &[u8]) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|entry| self.name(entry).cmp(name))
    }

    pub(crate) fn push(&mut self, name: &[u8], file_type: FileType, target: Target) {
        let position = |len| u32::try_from(len).unwrap_or(u32::MAX);
        let start = position(self.names.len());
        self.names.extend_from_slice(name);
        let name = (start, position(self.names.len()));
        self.entries.push(Entry {
            name,
            file_type,
            target,
        });
    }
}
