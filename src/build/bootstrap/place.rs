//! Where each inode and each directory block goes.
//!
//! Inodes follow each other in layout order, with their xattrs, chunk indices
//! or inline data behind them. Inline data must not cross a block, so the rest
//! of a block is sometimes skipped; smaller inodes fill such gaps later. Full
//! directory blocks go to an area of their own behind the inodes.

use crate::build::bootstrap::listing;
use crate::build::bootstrap::order::Order;
use crate::build::tree::{Content, NodeIndex, Tree};
use crate::image::rafs::inode::{self, Layout};
use crate::image::rafs::{BLOCK, BLOCK_LEN, SLOT, chunk_index, dirent};

/// Gaps that are kept for smaller inodes.
const GAPS: usize = 16;

/// Where a node is.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Offset of the inode in the inode area.
    pub(super) at: u64,
    /// Data layout; none for what was not placed.
    pub(super) layout: Option<Layout>,
    /// First block in the block area, of directories and links with full
    /// blocks.
    pub(super) block: u64,
    /// Size on disk of a directory or link.
    pub(super) size: u64,
    /// Entries (with `.` and `..`) in each block of a directory.
    pub(super) spread: Vec<usize>,
}

impl Place {
    /// The node number.
    pub(super) fn nid(&self) -> u64 {
        self.at / SLOT
    }
}

/// Where everything is.
#[derive(Debug)]
pub(super) struct Places {
    /// By node index.
    pub(super) nodes: Vec<Place>,
    /// Bytes of the inode area, a multiple of the block size.
    pub(super) inode_area: u64,
    /// Blocks of the block area.
    pub(super) blocks: u64,
}

/// Places all nodes. `xattr_lens` are the encoded lengths by node index.
pub(super) fn place(tree: &Tree, order: &Order, xattr_lens: &[usize]) -> Places {
    let mut area = Area {
        cursor: BLOCK,
        gaps: Vec::new(),
        blocks: 0,
    };
    let mut nodes = vec![Place::default(); tree.nodes.len()];
    for &node in &order.nodes {
        let head = (inode::EXTENDED + xattr_lens[node]) as u64;
        nodes[node] = area.place(tree, node, head);
    }
    let inode_area = area.cursor.next_multiple_of(BLOCK);
    Places {
        nodes,
        inode_area,
        blocks: area.blocks,
    }
}

struct Area {
    cursor: u64,
    gaps: Vec<(u64, u64)>,
    blocks: u64,
}

impl Area {
    fn place(&mut self, tree: &Tree, node: NodeIndex, head: u64) -> Place {
        match &tree.nodes[node].content {
            Content::File(file) => {
                let need =
                    head.next_multiple_of(8) + (file.chunks.len() * chunk_index::ENTRY) as u64;
                let layout = Some(Layout::Chunked);
                Place {
                    at: self.take(need),
                    layout,
                    ..Place::default()
                }
            }
            Content::Directory(entries) => {
                let names = listing::sorted(entries);
                let blocks = dirent::spread(names.iter().map(|(name, _)| name.len()));
                let spread = blocks.iter().map(|(count, _)| *count).collect();
                let tail = blocks.last().map_or(0, |(_, used)| *used);
                let size = (blocks.len().saturating_sub(1) * BLOCK_LEN + tail) as u64;
                Place {
                    spread,
                    ..self.place_data(head, size)
                }
            }
            Content::Symlink(target) => self.place_data(head, target.len() as u64),
            _ => {
                let layout = Some(Layout::Plain);
                Place {
                    at: self.take(head),
                    layout,
                    ..Place::default()
                }
            }
        }
    }

    /// Places an inode with `size` bytes of data in the bootstrap.
    fn place_data(&mut self, head: u64, size: u64) -> Place {
        let tail = size % BLOCK;
        let inline = tail != 0 && head + tail <= BLOCK;
        let block = self.blocks;
        let (at, layout) = if inline {
            self.blocks += size / BLOCK;
            (self.take_in_block(head + tail), Layout::Inline)
        } else {
            self.blocks += size.div_ceil(BLOCK);
            (self.take(head), Layout::Plain)
        };
        Place {
            at,
            layout: Some(layout),
            block,
            size,
            spread: Vec::new(),
        }
    }

    /// Room that may cross blocks.
    fn take(&mut self, need: u64) -> u64 {
        if let Some(at) = self.take_gap(need) {
            return at;
        }
        let at = self.cursor;
        self.cursor = (at + need).next_multiple_of(SLOT);
        at
    }

    /// Room inside one block.
    fn take_in_block(&mut self, need: u64) -> u64 {
        if let Some(at) = self.take_gap(need) {
            return at;
        }
        let end = (self.cursor / BLOCK + 1) * BLOCK;
        if self.cursor % BLOCK + need > BLOCK {
            if self.gaps.len() == GAPS {
                self.gaps.remove(0);
            }
            self.gaps.push((self.cursor, end));
            self.cursor = end;
        }
        let at = self.cursor;
        self.cursor = (at + need).next_multiple_of(SLOT);
        at
    }

    fn take_gap(&mut self, need: u64) -> Option<u64> {
        let found = self
            .gaps
            .iter()
            .position(|(start, end)| end - start >= need)?;
        let (start, end) = self.gaps[found];
        let next = (start + need).next_multiple_of(SLOT);
        if next + inode::EXTENDED as u64 > end {
            self.gaps.remove(found);
        } else {
            self.gaps[found].0 = next;
        }
        Some(start)
    }
}
