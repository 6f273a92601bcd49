//! Reads of files: what is at hand at once, the rest later.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::ImageFs;
use crate::chunk::Chunk;
use crate::destination::Destination;
use crate::fs::touches::FirstReads;
use crate::fs::{Errno, PendingRead, Read};
use crate::image::{Content, NodeRef};
use crate::store::Store;

/// What a read needs to know of a file: its size and some of its chunks.
#[derive(Debug)]
pub(super) struct OpenGroup {
    node: NodeRef,
    size: u64,
    start: u64,
    chunks: Arc<[Chunk]>,
    reads: FirstReads,
}

/// A part of a chunk that a read wants.
#[derive(Clone, Copy, Debug)]
struct Piece {
    chunk: Chunk,
    from: u32,
    len: u32,
}

type Pieces = smallvec::SmallVec<[Piece; 2]>;

impl ImageFs {
    /// Reads up to `dest.len()` bytes of a file.
    pub(super) fn read_file(&self, node: u64, offset: u64, dest: &mut Destination<'_>) -> Read {
        let pieces = match self.pieces(node, offset, dest.len()) {
            Ok(pieces) => pieces,
            Err(errno) => return Read::Ready(Err(errno)),
        };
        let mut done = 0;
        for piece in &pieces {
            let len = piece.len as usize;
            if !self
                .store
                .read_hot(&piece.chunk, piece.from, dest, done, len)
            {
                return Read::Pending(wait_for(Arc::clone(&self.store), pieces));
            }
            done += len;
        }
        Read::Ready(Ok(done))
    }

    /// The chunks of file `node` around byte `offset`.
    fn open_group(&self, node: u64, offset: u64) -> Result<Arc<OpenGroup>, Errno> {
        let chunk_size = u64::from(self.image.summary().chunk_size);
        let position = offset / chunk_size;
        let key = (node, position / crate::image::proof::FANOUT as u64);
        let held = self.held(node)?.node;
        // A node number proves nothing: what is kept under it must be of the
        // very node that the guest holds.
        if let Some(found) = self.open.get(&key).filter(|found| found.node == held) {
            return Ok(found);
        }
        let loaded = self.node(&held)?;
        let file = match &loaded.content {
            Content::File(file) => file,
            Content::Directory(_) => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        };
        let size = loaded.attr.size;
        if position >= file.chunks() {
            return Ok(Arc::new(OpenGroup {
                node: held,
                size,
                start: position,
                chunks: Arc::new([]),
                reads: FirstReads::new(false),
            }));
        }
        let group = self
            .image
            .chunk_group(file, size, position)
            .map_err(|error| self.io_error(&error))?;
        let group = Arc::new(OpenGroup {
            node: held,
            size,
            start: group.start,
            chunks: group.chunks,
            reads: FirstReads::new(self.touches.is_some()),
        });
        self.open.insert(key, Arc::clone(&group));
        Ok(group)
    }

    /// Notes the first read of a chunk through its group.
    fn touch(&self, node: u64, position: u64) {
        if let Some(touches) = &self.touches {
            touches.add(node, position, |id| self.nodes.get(id));
        }
    }

    /// The parts of chunks that hold `len` bytes of a file from `offset` on.
    fn pieces(&self, node: u64, offset: u64, len: usize) -> Result<Pieces, Errno> {
        let chunk_size = u64::from(self.image.summary().chunk_size);
        let mut group = self.open_group(node, offset)?;
        let end = offset.saturating_add(len as u64).min(group.size);
        let mut pieces = Pieces::new();
        let mut at = offset;
        while at < end {
            let position = at / chunk_size;
            let mut index = position.wrapping_sub(group.start);
            if index >= group.chunks.len() as u64 {
                group = self.open_group(node, at)?;
                index = position.wrapping_sub(group.start);
            }
            let index = usize::try_from(index).map_err(|_| Errno::EIO)?;
            let chunk = group.chunks.get(index).ok_or(Errno::EIO)?;
            if group.reads.is_first(index) {
                self.touch(node, position);
            }
            let from = at - position * chunk_size;
            let len = (u64::from(chunk.len).saturating_sub(from)).min(end - at);
            if len == 0 {
                return Err(Errno::EIO);
            }
            let part = |value| u32::try_from(value).map_err(|_| Errno::EIO);
            pieces.push(Piece {
                chunk: *chunk,
                from: part(from)?,
                len: part(len)?,
            });
            at += len;
        }
        Ok(pieces)
    }
}

/// The slow path of a read: all its chunks at once, proved. A small part is
/// copied out, so that a read that waits for one chunk does not keep others
/// whole.
fn wait_for(store: Arc<Store>, pieces: Pieces) -> PendingRead {
    Box::pin(async move {
        let parts = pieces.iter().map(|piece| {
            let (store, piece) = (&store, *piece);
            async move {
                let bytes = store.read(piece.chunk).await.map_err(|_| Errno::EIO)?;
                let (from, len) = (piece.from as usize, piece.len as usize);
                let part = bytes.get(from..from + len).ok_or(Errno::EIO)?;
                if len < bytes.len() / 2 {
                    return Ok(Bytes::copy_from_slice(part));
                }
                Ok(bytes.slice(from..from + len))
            }
        });
        try_join_all(parts).await
    })
}
