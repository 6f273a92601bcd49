//! The doors of an open image: nodes by reference, entries by name, chunks by
//! position.

use std::sync::Arc;

use crate::chunk::{Chunk, Digest};
use crate::extent::{Extents, StoredTables};
use crate::image::content::{ChunkGroup, Content, Directory, File};
use crate::image::error::ImageError;
use crate::image::group::{Entry, Group, Target};
use crate::image::model::NodeRef;
use crate::image::node::Node;
use crate::image::open::Image;
use crate::image::proof;
use crate::image::rafs::u32_at;
use crate::image::tables;
use crate::records::ChunkRecords;

/// Most nodes of a prefetch table that are looked at.
const PREFETCH_MAX: usize = 1 << 18;

/// Longest canonical path of a hard link in bytes, which bounds the steps that
/// one lookup can cost.
pub const LINK_PATH_MAX: usize = 4096;

impl ChunkRecords for Image {
    fn record(&self, blob: u16, index: u32) -> Option<Chunk> {
        self.tree.chunk(blob, index).ok()
    }

    fn is_apart(&self, blob: u16, index: u32) -> bool {
        self.ends_trace(blob, index)
    }

    fn extents(&self, blob: u16, stored: &StoredTables<'_>) -> Result<Extents, String> {
        let entry = self.entries.get(usize::from(blob));
        let entry = entry.ok_or_else(|| format!("blob number {blob}"))?;
        tables::read(entry, blob, stored, |index| {
            self.tree.listed(blob, index).ok().flatten()
        })
    }
}

impl Image {
    /// The node behind a reference: from memory, or loaded and proved.
    ///
    /// # Errors
    /// When it cannot be read, breaks the format, or is not what its digest
    /// says.
    pub fn node(&self, node: &NodeRef) -> Result<Arc<Node>, ImageError> {
        let key = (
            node.nid,
            node.proof.map_or(Digest::default(), |proof| proof.digest),
        );
        if let Some(found) = self.nodes.get(&key) {
            return Ok(found);
        }
        let loaded = Arc::new(self.tree.load(node)?);
        self.nodes.insert(key, Arc::clone(&loaded));
        Ok(loaded)
    }

    /// Finds `name` in a directory; with a section its absence is proved too.
    ///
    /// # Errors
    /// When the directory cannot be read or proved.
    pub fn find(&self, directory: &Directory, name: &[u8]) -> Result<Option<Entry>, ImageError> {
        self.tree.find(directory, name)
    }

    /// A group of a directory's entries.
    ///
    /// # Errors
    /// When it cannot be read or proved.
    pub fn group(&self, directory: &Directory, group: u64) -> Result<Arc<Group>, ImageError> {
        self.tree.group(directory, group)
    }

    /// The group of chunks that holds chunk number `position` of a file of
    /// `size` bytes.
    ///
    /// # Errors
    /// When the chunk list cannot be read or proved.
    pub fn chunk_group(
        &self,
        file: &File,
        size: u64,
        position: u64,
    ) -> Result<ChunkGroup, ImageError> {
        self.tree.chunk_group(file, size, position)
    }

    /// The record of a chunk; none if the image does not list it.
    ///
    /// # Errors
    /// When it cannot be read or proved.
    pub fn listed_chunk(&self, blob: u16, index: u32) -> Result<Option<Chunk>, ImageError> {
        self.tree.listed(blob, index)
    }

    /// The nodes that the image's prefetch table names. Only a hint of what to
    /// fetch: the references have no proof, so nothing that is loaded by them
    /// may be served.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn prefetch_table(&self) -> Result<Vec<NodeRef>, ImageError> {
        let (offset, count) = self.summary().prefetch_table;
        let count = usize::try_from(count).unwrap_or(PREFETCH_MAX);
        let len = count.min(PREFETCH_MAX) * 4;
        let table = self.tree.bootstrap().read(offset, len)?;
        let nids = table.chunks_exact(4).map(|nid| u64::from(u32_at(nid, 0)));
        let nodes = nids
            .take_while(|&nid| nid != 0)
            .map(|nid| NodeRef { nid, proof: None });
        Ok(nodes.collect())
    }

    /// The error for an entry whose type is not its node's.
    pub fn contradiction(&self, nid: u64) -> ImageError {
        self.tree
            .bootstrap()
            .unproved(format!("type of inode {nid}"))
    }

    /// The error for a node that is not what was found under its number before,
    /// or a directory that stands in two places.
    pub fn misplaced(&self, nid: u64) -> ImageError {
        let reason = format!("inode {nid} is a directory in two places, or two nodes");
        self.tree.bootstrap().damaged(reason)
    }

    /// The node behind an entry; a later name of a hard link is followed along
    /// its canonical path, each step proved.
    ///
    /// # Errors
    /// When a step cannot be read or proved, or does not lead to the node.
    pub fn resolve(&self, entry: &Entry) -> Result<NodeRef, ImageError> {
        let (nid, digest, offset) = match entry.target {
            Target::Node(node) => return Ok(node),
            Target::Link { nid, digest, path } => (nid, digest, path),
        };
        let path = self.read_link_path(offset)?;
        let wrong = || {
            self.tree
                .bootstrap()
                .unproved(format!("hard link to inode {nid}"))
        };
        if proof::link_digest(&path) != digest {
            return Err(wrong());
        }
        let mut node = self.root();
        for name in path.split(|&byte| byte == b'/') {
            let parent = self.node(&node)?;
            let Content::Directory(directory) = &parent.content else {
                return Err(wrong());
            };
            let found = self.find(directory, name)?.ok_or_else(wrong)?;
            let Target::Node(child) = found.target else {
                return Err(wrong());
            };
            node = child;
        }
        if node.nid != nid {
            Err(wrong())
        } else {
            Ok(node)
        }
    }

    /// The canonical path of the node behind a later name of a hard link,
    /// without a slash at its start; none for other entries. Only
    /// [`Image::resolve`] proves that it leads to the node.
    ///
    /// # Errors
    /// When the path cannot be read.
    pub fn canonical_path(&self, entry: &Entry) -> Result<Option<Vec<u8>>, ImageError> {
        match entry.target {
            Target::Node(_) => Ok(None),
            Target::Link { path, .. } => self.read_link_path(path).map(Some),
        }
    }

    fn read_link_path(&self, offset: u64) -> Result<Vec<u8>, ImageError> {
        let metadata = self.tree.erofs()?;
        let damaged = || metadata.bootstrap.damaged("path of a hard link");
        let at = metadata
            .section
            .and_then(|section| section.at(offset))
            .ok_or_else(damaged)?;
        let mut len = [0; 4];
        metadata.bootstrap.read_into(at, &mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        if len > LINK_PATH_MAX {
            return Err(damaged());
        }
        metadata.bootstrap.read(at + 4, len)
    }
}
