//! What is cut, in which order, and who takes the next piece.

use parking_lot::Mutex;

use super::PackError;
use crate::build::tree::{Content, FileContent, NodeIndex, Tree};

/// Most bytes of one batch, unless a single chunk is larger.
pub(super) const BATCH_BYTES: u32 = 1 << 20;

/// Most chunks of one batch: enough to make the hand-over cheap, few enough
/// for all threads to have some.
const BATCH_CHUNKS: usize = 64;

/// Most chunks of all files together: a bootstrap has at most 2 GiB and spends
/// 8 bytes on each. Refused before anything is read, since a few bytes of a
/// sparse file's map can tell any size.
const CHUNKS_MAX: u64 = 1 << 28;

/// A regular file that has bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedFile<'a> {
    pub(super) node: NodeIndex,
    pub(super) content: &'a FileContent,
    /// Ordinal of its first chunk in the image.
    pub(super) first: u64,
}

/// One chunk to cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) file: PlannedFile<'a>,
    /// Position in the file.
    pub(super) offset: u64,
    pub(super) len: u32,
    /// Number of the chunk in the image, in build order.
    pub(super) ordinal: u64,
}

/// All files in build order.
pub(super) struct Plan<'a> {
    pub(super) files: Vec<PlannedFile<'a>>,
    /// Number of chunks in all of them.
    pub(super) chunks: u64,
    chunk_size: u32,
    cursor: Mutex<Cursor>,
}

#[derive(Default)]
struct Cursor {
    batch: u64,
    file: usize,
    offset: u64,
}

impl<'a> Plan<'a> {
    pub(super) fn new(tree: &'a Tree, chunk_size: u32) -> Result<Self, PackError> {
        let mut files = Vec::new();
        let mut chunks = 0_u64;
        for node in tree.preorder() {
            if let Some(Content::File(content)) = tree.nodes.get(node).map(|node| &node.content)
                && content.size > 0
            {
                files.push(PlannedFile {
                    node,
                    content,
                    first: chunks,
                });
                let count = content.size.div_ceil(u64::from(chunk_size));
                chunks = chunks.saturating_add(count);
                if chunks > CHUNKS_MAX {
                    return Err(PackError::TooManyChunks);
                }
            }
        }
        Ok(Self {
            files,
            chunks,
            chunk_size,
            cursor: Mutex::default(),
        })
    }

    /// Puts the next pieces into `pieces` and gives the batch's number, from
    /// 0; None when all are taken.
    pub(super) fn take(&self, pieces: &mut Vec<Piece<'a>>) -> Option<u64> {
        pieces.clear();
        let mut cursor = self.cursor.lock();
        let mut room = BATCH_BYTES.max(self.chunk_size);
        while let Some(file) = self.files.get(cursor.file) {
            let left = file.content.size - cursor.offset;
            let len = u32::try_from(left).unwrap_or(u32::MAX).min(self.chunk_size);
            if len > room || pieces.len() == BATCH_CHUNKS {
                break;
            }
            room -= len;
            pieces.push(Piece {
                file: *file,
                offset: cursor.offset,
                len,
                ordinal: file.first + cursor.offset / u64::from(self.chunk_size),
            });
            cursor.offset += u64::from(len);
            if cursor.offset == file.content.size {
                cursor.file += 1;
                cursor.offset = 0;
            }
        }
        let number = cursor.batch;
        cursor.batch += 1;
        (!pieces.is_empty()).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tree::{Data, Meta, Node};

    fn tree(sizes: &[u64]) -> Tree {
        let node = |content| Node {
            meta: Meta::default(),
            xattrs: Vec::new(),
            content,
        };
        let names = (1..=sizes.len()).map(|index| ([b'a'].repeat(index).into(), index));
        let mut nodes = vec![node(Content::Directory(names.collect()))];
        nodes.extend(sizes.iter().map(|&size| {
            let (path, sparse) = ("nowhere".into(), true);
            node(Content::File(FileContent {
                size,
                data: Data::Path { path, sparse },
                chunks: Vec::new(),
            }))
        }));
        Tree { nodes }
    }

    #[test]
    fn more_chunks_than_a_bootstrap_holds_are_refused_before_the_work() {
        let most = CHUNKS_MAX * 4096;
        assert!(Plan::new(&tree(&[most - 1, 0]), 4096).is_ok());
        for sizes in [&[most, 1][..], &[u64::MAX], &[u64::MAX, u64::MAX]] {
            let tree = tree(sizes);
            let plan = Plan::new(&tree, 4096);
            assert!(matches!(plan, Err(PackError::TooManyChunks)), "{sizes:?}");
        }
    }
}
