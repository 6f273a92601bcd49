//! What is cut, in which order, and who takes the next piece.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

use super::PackError;
use super::worker::Batch;
use crate::build::tree::{Content, FileContent, NodeIndex, Tree};

/// Most bytes of one batch, unless a single chunk is larger.
pub(super) const BATCH_BYTES: u32 = 1 << 20;

/// Most chunks of one batch: enough to make the hand-over cheap, few enough
/// for all threads to have some.
pub(super) const BATCH_CHUNKS: usize = 64;

/// Most chunks of all files together: a bootstrap has at most 2 GiB and spends
/// 8 bytes on each. Refused before anything is read, since a few bytes of a
/// sparse file's map can tell any size.
pub(in crate::build) const CHUNKS_MAX: u64 = 1 << 28;

/// A regular file that has bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedFile<'a> {
    pub(super) node: NodeIndex,
    pub(super) content: &'a FileContent,
}

/// One chunk to cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) from: From<'a>,
    pub(super) len: u32,
    /// Number of the chunk in the image, in the order in which chunks are
    /// stored.
    pub(super) ordinal: u64,
}

/// Where a piece's bytes are.
#[derive(Debug, Clone, Copy)]
pub(super) enum From<'a> {
    /// At that position in a file.
    File(PlannedFile<'a>, u64),
    /// At that position in the bytes that came with the batch.
    Batch(usize),
    /// Nowhere: they are zeros.
    Hole,
}

/// Hands out pieces in batches.
pub(super) trait Feed<'a>: Sync {
    /// Fills a batch with the next pieces and numbers it from 0 on; false when
    /// all are taken.
    fn fill(&self, batch: &mut Batch<'a>) -> Result<bool, PackError>;
}

/// All files in build order, and the chunks that come before them.
pub(super) struct Plan<'a> {
    pub(super) files: Vec<PlannedFile<'a>>,
    /// Number of chunks in all of them.
    pub(super) chunks: u64,
    /// Chunks that come first: file and position in it, each once.
    first: Vec<(PlannedFile<'a>, u64)>,
    is_first: HashSet<(NodeIndex, u64)>,
    chunk_size: u32,
    cursor: Mutex<Cursor>,
}

#[derive(Default)]
struct Cursor {
    batch: u64,
    ordinal: u64,
    file: usize,
    position: u64,
}

impl<'a> Plan<'a> {
    /// A plan for all files of `tree`, in which the chunks `first` (file and
    /// position in it) come first, in that order. Those that are named twice or
    /// do not exist are passed over.
    pub(super) fn new(
        tree: &'a Tree,
        chunk_size: u32,
        first: &[(NodeIndex, u64)],
    ) -> Result<Self, PackError> {
        let mut plan = Self {
            files: Vec::new(),
            chunks: 0,
            first: Vec::new(),
            is_first: HashSet::new(),
            chunk_size,
            cursor: Mutex::default(),
        };
        for node in tree.preorder() {
            if let Some(Content::File(content)) = tree.nodes.get(node).map(|node| &node.content)
                && content.size > 0
            {
                let file = PlannedFile { node, content };
                plan.files.push(file);
                plan.chunks = plan.chunks.saturating_add(plan.count(&file));
                if plan.chunks > CHUNKS_MAX {
                    return Err(PackError::TooManyChunks);
                }
            }
        }
        if !first.is_empty() {
            let files: HashMap<_, _> = plan.files.iter().map(|file| (file.node, *file)).collect();
            for &(node, position) in first {
                if let Some(file) = files.get(&node)
                    && position < plan.count(file)
                    && plan.is_first.insert((node, position))
                {
                    plan.first.push((*file, position));
                }
            }
        }
        Ok(plan)
    }

    /// Number of a file's chunks.
    fn count(&self, file: &PlannedFile<'_>) -> u64 {
        file.content.size.div_ceil(u64::from(self.chunk_size))
    }

    /// Number of chunks that come before the files in build order.
    pub(super) fn leading(&self) -> usize {
        self.first.len()
    }

    /// Turns one value per chunk, by ordinal, into the values of each file's
    /// chunks.
    pub(super) fn of_files(&self, values: &[u32]) -> Vec<(NodeIndex, Vec<u32>)> {
        let (leading, rest) = values.split_at(self.leading().min(values.len()));
        let keys = self
            .first
            .iter()
            .map(|(file, position)| (file.node, *position));
        let leading: HashMap<_, _> = keys.zip(leading.iter().copied()).collect();
        let mut rest = rest.iter().copied();
        let mut value = |chunk| leading.get(&chunk).copied().or_else(|| rest.next());
        self.files
            .iter()
            .map(|file| {
                let positions = (0..self.count(file)).map(|position| (file.node, position));
                (file.node, positions.filter_map(&mut value).collect())
            })
            .collect()
    }

    /// Puts the next pieces into `pieces` and gives the batch's number, from
    /// 0; None when all are taken.
    fn take(&self, pieces: &mut Vec<Piece<'a>>) -> Option<u64> {
        pieces.clear();
        let mut cursor = self.cursor.lock();
        let mut room = BATCH_BYTES.max(self.chunk_size);
        while pieces.len() < BATCH_CHUNKS
            && let Some(piece) = self.at(&mut cursor)
            && piece.len <= room
        {
            room -= piece.len;
            pieces.push(piece);
            if self.leading() as u64 <= cursor.ordinal {
                cursor.position += 1;
            }
            cursor.ordinal += 1;
        }
        let number = cursor.batch;
        cursor.batch += 1;
        (!pieces.is_empty()).then_some(number)
    }

    /// The piece at the cursor, which is moved over what came first.
    fn at(&self, cursor: &mut Cursor) -> Option<Piece<'a>> {
        let leading = usize::try_from(cursor.ordinal).ok();
        let leading = leading.and_then(|ordinal| self.first.get(ordinal));
        let (file, position) = match leading {
            Some(found) => *found,
            None => loop {
                let file = self.files.get(cursor.file)?;
                if cursor.position == self.count(file) {
                    cursor.file += 1;
                    cursor.position = 0;
                } else if self.is_first.contains(&(file.node, cursor.position)) {
                    cursor.position += 1;
                } else {
                    break (*file, cursor.position);
                }
            },
        };
        let offset = position * u64::from(self.chunk_size);
        let left = file.content.size.saturating_sub(offset);
        Some(Piece {
            from: From::File(file, offset),
            len: u32::try_from(left).unwrap_or(u32::MAX).min(self.chunk_size),
            ordinal: cursor.ordinal,
        })
    }
}

impl<'a> Feed<'a> for Plan<'a> {
    fn fill(&self, batch: &mut Batch<'a>) -> Result<bool, PackError> {
        let number = self.take(&mut batch.pieces);
        batch.number = number.unwrap_or_default();
        Ok(number.is_some())
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
        assert!(Plan::new(&tree(&[most - 1, 0]), 4096, &[]).is_ok());
        for sizes in [&[most, 1][..], &[u64::MAX], &[u64::MAX, u64::MAX]] {
            let tree = tree(sizes);
            let plan = Plan::new(&tree, 4096, &[]);
            assert!(matches!(plan, Err(PackError::TooManyChunks)), "{sizes:?}");
        }
    }

    #[test]
    fn chunks_that_come_first_are_cut_once_and_in_their_order() {
        let tree = tree(&[4096 * 2 + 1, 4096, 0, 1]);
        let first = [(2, 0), (1, 2), (1, 2), (1, 9), (3, 0), (99, 0), (1, 0)];
        let plan = Plan::new(&tree, 4096, &first).unwrap();
        let wanted = [(2, 0), (1, 2), (1, 0), (1, 1), (4, 0)];
        let of_files = [(1, vec![12, 13, 11]), (2, vec![10]), (4, vec![14])];
        assert_eq!(plan.of_files(&[10, 11, 12, 13, 14]), of_files);
        assert_eq!((plan.leading(), plan.chunks), (3, 5));
        let (mut pieces, mut taken) = (Vec::new(), Vec::new());
        while plan.take(&mut pieces).is_some() {
            taken.append(&mut pieces);
        }
        let found: Vec<_> = taken
            .iter()
            .map(|piece| {
                let From::File(file, offset) = piece.from else {
                    panic!("{piece:?}")
                };
                (file.node, offset / 4096, piece.ordinal, piece.len)
            })
            .collect();
        let lens = [4096, 1, 4096, 4096, 1];
        let wanted: Vec<_> = (0..)
            .zip(wanted.into_iter().zip(lens))
            .map(|(ordinal, ((node, position), len))| (node, position, ordinal, len))
            .collect();
        assert_eq!(found, wanted);
    }
}
