//! What is cut, in which order, and who takes the next piece.

use parking_lot::Mutex;

use super::PackError;
use crate::build::tree::{Content, FileContent, NodeIndex, Tree};

/// Most bytes of one batch, unless a single chunk is larger.
pub(super) const BATCH_BYTES: u32 = 1 << 20;

/// Most chunks of one batch: enough to make the hand-over cheap, few enough
/// for all threads to have some.
const BATCH_CHUNKS: usize = 64;

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
                chunks = chunks.checked_add(count).ok_or(PackError::TooManyChunks)?;
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
