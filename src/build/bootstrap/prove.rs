//! Node digests from the leaves up, and the integrity section that lets a
//! reader check them from the root down.

use crate::build::bootstrap::hints;
use crate::build::bootstrap::order::Order;
use crate::build::pack::Packed;
use crate::build::tree::{Content, Node, NodeIndex, Tree};
use crate::chunk::{Chunk, Digest};
use crate::image::hints::HintPlaces;
use crate::image::layout::layout_list;
use crate::image::model::{Attr, FileType};
use crate::image::proof::{
    self, ContentDigest, FANOUT, LINK_BIT, Leaf, ListHead, ListKind, VERSION,
};
use crate::image::section::{self, BlobRecord, ChildRecord, DirectoryRecord};

/// Type of a node while it is built.
pub(super) fn file_type(node: &Node) -> FileType {
    match node.content {
        Content::File(_) => FileType::Regular,
        Content::Directory(_) => FileType::Directory,
        Content::Symlink(_) => FileType::Symlink,
        Content::CharDevice(_) => FileType::CharDevice,
        Content::BlockDevice(_) => FileType::BlockDevice,
        Content::Fifo => FileType::Fifo,
        Content::Socket => FileType::Socket,
    }
}

/// Attributes of a node; `size` is left 0 for directories.
pub(super) fn attr(node: &Node, nlink: u32) -> Attr {
    let (size, rdev) = match &node.content {
        Content::File(file) => (file.size, 0),
        Content::Symlink(target) => (target.len() as u64, 0),
        Content::CharDevice(rdev) | Content::BlockDevice(rdev) => (0, *rdev),
        _ => (0, 0),
    };
    Attr {
        file_type: file_type(node),
        mode: node.meta.mode,
        uid: node.meta.uid,
        gid: node.meta.gid,
        mtime: node.meta.mtime,
        mtime_ns: node.meta.mtime_ns,
        nlink,
        rdev,
        size,
    }
}

/// The section and what its trailer needs to know.
#[derive(Debug)]
pub(super) struct Section {
    /// All bytes but the trailer.
    pub(super) bytes: Vec<u8>,
    /// Digest of the root node.
    pub(super) root_node: Digest,
    /// Offset of the root's record.
    pub(super) root_record: u64,
    /// Offset of the blob records.
    pub(super) blob_records: u64,
    /// Offsets of the hints.
    pub(super) hints: HintPlaces,
}

/// Proves a tree. The records of `packed` are sorted by blob; `spread` gives
/// the entries (with `.` and `..`) per block of a directory.
pub(super) fn prove<'a>(
    tree: &'a Tree,
    order: &Order,
    packed: &Packed,
    spread: impl Fn(NodeIndex) -> &'a [usize],
) -> Section {
    let chunks = &packed.chunks;
    let count = tree.nodes.len();
    let mut prover = Prover {
        tree,
        order,
        bytes: section::header(VERSION).to_vec(),
        digests: vec![Digest::default(); count],
        records: vec![0; count],
        paths: std::collections::HashMap::new(),
    };
    for &node in &order.nodes {
        prover.leaf_node(node, chunks);
    }
    for &node in order.nodes.iter().rev() {
        if let Content::Directory(entries) = &tree.nodes[node].content {
            prover.directory(node, entries, spread(node));
        }
    }
    let blob_records = prover.blobs(chunks, packed.blobs.len());
    let hints = hints::write(tree, order, packed, |bytes| prover.append(bytes));
    Section {
        hints,
        root_node: prover.digests[0],
        root_record: prover.records[0],
        blob_records,
        bytes: prover.bytes,
    }
}

struct Prover<'a> {
    tree: &'a Tree,
    order: &'a Order,
    bytes: Vec<u8>,
    digests: Vec<Digest>,
    records: Vec<u64>,
    /// Offsets of canonical paths by node.
    paths: std::collections::HashMap<NodeIndex, u64>,
}

impl Prover<'_> {
    /// Appends `data` at a multiple of 8 and returns its offset.
    fn append(&mut self, data: &[u8]) -> u64 {
        let at = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(at, 0);
        self.bytes.extend_from_slice(data);
        at as u64
    }

    fn finish(&mut self, node: NodeIndex, content: ContentDigest<'_>) {
        let it = &self.tree.nodes[node];
        let xattrs = it
            .xattrs
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()));
        let attr = attr(it, self.order.links[node]);
        self.digests[node] = proof::node_digest(&attr, xattrs, content);
    }

    /// A node that is no directory.
    fn leaf_node(&mut self, node: NodeIndex, chunks: &[Chunk]) {
        match &self.tree.nodes[node].content {
            Content::Directory(_) => {}
            Content::Symlink(target) => self.finish(node, ContentDigest::Symlink(target)),
            Content::File(file) => {
                let mut leaf = Leaf::new(ListKind::Chunks);
                let mut leaves = Vec::new();
                for group in file.chunks.chunks(FANOUT) {
                    for &chunk in group {
                        let chunk = &chunks[chunk as usize];
                        leaf.chunk(&chunk.digest, chunk.len);
                    }
                    leaves.push(leaf.take());
                }
                let head = ListHead {
                    count: file.chunks.len() as u64,
                    ..ListHead::default()
                };
                let (levels, list) = proof::build_list(ListKind::Chunks, &head, &leaves);
                if !levels.is_empty() {
                    self.records[node] = self.append(&levels);
                }
                self.finish(node, ContentDigest::File(&list));
            }
            _ => self.finish(node, ContentDigest::Nothing),
        }
    }

    fn directory(&mut self, node: NodeIndex, entries: &[(Box<[u8]>, NodeIndex)], spread: &[usize]) {
        let mut head = ListHead {
            count: entries.len() as u64,
            ..ListHead::default()
        };
        let mut leaf = Leaf::new(ListKind::Entries);
        let mut leaves = Vec::new();
        let mut children = Vec::with_capacity(entries.len() * ChildRecord::LEN);
        for (position, (name, child)) in entries.iter().enumerate() {
            let file_type = file_type(&self.tree.nodes[*child]);
            head.name_bytes += name.len() as u64;
            head.directories += u64::from(file_type == FileType::Directory);
            let record = self.child(node, position, *child);
            let code = file_type.code() | if record.link { LINK_BIT } else { 0 };
            leaf.entry(name, code, &record.digest);
            if leaf.len() == FANOUT {
                leaves.push(leaf.take());
            }
            children.extend_from_slice(&record.encode());
        }
        if !leaf.is_empty() {
            leaves.push(leaf.take());
        }
        let (levels, list) = proof::build_list(ListKind::Entries, &head, &leaves);
        if !entries.is_empty() {
            let levels = if levels.is_empty() {
                0
            } else {
                self.append(&levels)
            };
            let block_index = if spread.len() > 1 {
                let index = block_index(entries, spread);
                self.append(&index)
            } else {
                0
            };
            let record = DirectoryRecord {
                head,
                levels,
                block_index,
            }
            .encode();
            self.records[node] = self.append(&[&record[..], &children].concat());
        }
        self.finish(node, ContentDigest::Directory(&list));
    }

    fn child(&mut self, directory: NodeIndex, position: usize, child: NodeIndex) -> ChildRecord {
        let order = self.order;
        match order.canonical.get(&child) {
            Some(name) if (name.directory, name.position) != (directory, position) => {
                let record = match self.paths.get(&child) {
                    Some(&at) => at,
                    None => {
                        let len = u32::try_from(name.path.len()).unwrap_or(u32::MAX);
                        let at = self.append(&[&len.to_le_bytes()[..], &name.path].concat());
                        self.paths.insert(child, at);
                        at
                    }
                };
                ChildRecord {
                    digest: proof::link_digest(&name.path),
                    link: true,
                    record,
                }
            }
            _ => ChildRecord {
                digest: self.digests[child],
                link: false,
                record: self.records[child],
            },
        }
    }

    fn blobs(&mut self, chunks: &[Chunk], blobs: usize) -> u64 {
        let mut records = Vec::new();
        let mut first = 0;
        for blob in 0..blobs {
            let own = chunks[first..].partition_point(|chunk| usize::from(chunk.blob) <= blob);
            let (levels, layout) = layout_list(&chunks[first..first + own]);
            let levels = if levels.is_empty() {
                0
            } else {
                self.append(&levels)
            };
            let record = BlobRecord {
                layout,
                levels,
                first: first as u64,
            };
            records.extend_from_slice(&record.encode());
            first += own;
        }
        if records.is_empty() {
            0
        } else {
            self.append(&records)
        }
    }
}

/// For each block, how many entries (without `.` and `..`) are in the blocks
/// before it.
fn block_index(entries: &[(Box<[u8]>, NodeIndex)], spread: &[usize]) -> Vec<u8> {
    let dots = |dots: &[u8]| entries.partition_point(|(name, _)| **name < *dots);
    // Positions of `.` and `..` in the list that has both.
    let (own, parent) = (dots(b"."), dots(b"..") + 1);
    let mut index = Vec::with_capacity(spread.len() * 4);
    let mut before = 0;
    for count in spread {
        let names = before - usize::from(before > own) - usize::from(before > parent);
        index.extend_from_slice(&u32::try_from(names).unwrap_or(u32::MAX).to_le_bytes());
        before += count;
    }
    index
}
