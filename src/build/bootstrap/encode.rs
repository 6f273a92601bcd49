//! Fills the inode area and the block area.

use crate::build::bootstrap::listing::{self, To};
use crate::build::bootstrap::order::Order;
use crate::build::bootstrap::place::{Place, Places};
use crate::build::bootstrap::{chunk_of, numbers, prove};
use crate::build::tree::{Content, FileContent, NodeIndex, Tree};
use crate::chunk::Chunk;
use crate::image::model::FileType;
use crate::image::rafs::chunk_index::{self, ChunkIndex};
use crate::image::rafs::dirent::{self, NewDirent};
use crate::image::rafs::inode::{self, Layout};
use crate::image::rafs::{BLOCK, BLOCK_LEN, put, xattr};

/// What inodes and directory blocks are made from.
pub(super) struct Encoder<'a> {
    pub(super) tree: &'a Tree,
    pub(super) order: &'a Order,
    pub(super) places: &'a Places,
    pub(super) chunks: &'a [Chunk],
    pub(super) chunk_size: u32,
    /// Block of the bootstrap at which the block area starts.
    pub(super) first_block: u32,
}

impl Encoder<'_> {
    /// Returns the inode area and the block area.
    pub(super) fn encode(&self, xattrs: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
        let mut inodes = vec![0; length(self.places.inode_area)];
        let mut blocks = vec![0; length(self.places.blocks * BLOCK)];
        let numbers = numbers(self.order, self.tree.nodes.len());
        for &index in &self.order.nodes {
            let (node, place) = (&self.tree.nodes[index], &self.places.nodes[index]);
            let xattrs = &xattrs[index];
            let mut attr = prove::attr(node, self.order.links[index]);
            if attr.file_type == FileType::Directory {
                attr.size = place.size;
            }
            let start = match &node.content {
                Content::File(file) => self.chunk_format(file),
                Content::CharDevice(rdev) | Content::BlockDevice(rdev) => *rdev,
                Content::Directory(_) | Content::Symlink(_) => self.start_block(place),
                Content::Fifo | Content::Socket => 0,
            };
            let layout = place.layout.unwrap_or(Layout::Plain);
            let count = xattr::count(xattrs).unwrap_or(0);
            let at = length(place.at);
            let tail = at + inode::EXTENDED + xattrs.len();
            put(
                &mut inodes,
                at,
                &inode::encode(&attr, layout, start, count, numbers[index]),
            );
            put(&mut inodes, at + inode::EXTENDED, xattrs);
            match &node.content {
                Content::File(file) => {
                    let mut at = tail.next_multiple_of(8);
                    for &chunk in &file.chunks {
                        put(&mut inodes, at, &self.chunk_index(chunk));
                        at += chunk_index::ENTRY;
                    }
                }
                Content::Directory(entries) => {
                    let data = self.directory(index, entries, place);
                    self.put_data(&mut inodes, &mut blocks, tail, place, &data);
                }
                Content::Symlink(target) => {
                    self.put_data(&mut inodes, &mut blocks, tail, place, target);
                }
                _ => {}
            }
        }
        (inodes, blocks)
    }

    /// Puts full blocks in the block area and an inline tail behind the inode.
    fn put_data(
        &self,
        inodes: &mut [u8],
        blocks: &mut [u8],
        tail: usize,
        place: &Place,
        data: &[u8],
    ) {
        let inline = place.layout == Some(Layout::Inline);
        let full = if inline {
            data.len() - data.len() % BLOCK_LEN
        } else {
            data.len()
        };
        put(blocks, length(place.block * BLOCK), &data[..full]);
        put(inodes, tail, &data[full..]);
    }

    fn start_block(&self, place: &Place) -> u32 {
        let full = place.layout == Some(Layout::Plain) || place.size >= BLOCK;
        if !full {
            return 0;
        }
        self.first_block
            .saturating_add(u32::try_from(place.block).unwrap_or(u32::MAX))
    }

    /// EROFS reads the chunk size from the inode: log2 in blocks.
    fn chunk_format(&self, _file: &FileContent) -> u32 {
        chunk_index::FORMAT_INDEXES | (self.chunk_size.trailing_zeros() - BLOCK.trailing_zeros())
    }

    fn chunk_index(&self, reference: u32) -> [u8; chunk_index::ENTRY] {
        let chunk = chunk_of(self.chunks, reference);
        let block = u32::try_from(chunk.offset / BLOCK).unwrap_or(u32::MAX);
        ChunkIndex {
            blob: chunk.blob,
            index: chunk.index,
            block,
        }
        .encode()
    }

    fn directory(
        &self,
        own: NodeIndex,
        entries: &[(Box<[u8]>, NodeIndex)],
        place: &Place,
    ) -> Vec<u8> {
        let names = listing::sorted(entries);
        let mut data: Vec<u8> = Vec::with_capacity(length(place.size));
        let mut rest = &names[..];
        for &count in &place.spread {
            data.resize(data.len().next_multiple_of(BLOCK_LEN), 0);
            let (block, others) = rest.split_at(count.min(rest.len()));
            rest = others;
            let block: Vec<_> = block
                .iter()
                .map(|(name, to)| {
                    let node = match to {
                        To::Own => own,
                        To::Parent => self.order.parents[own],
                        To::Child(child) => *child,
                    };
                    let file_type = prove::file_type(&self.tree.nodes[node]);
                    (NewDirent { name, file_type }, self.places.nodes[node].nid())
                })
                .collect();
            dirent::encode(&block, &mut data);
        }
        data
    }
}

/// Areas were limited to what fits a bootstrap before anything is encoded.
fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}
