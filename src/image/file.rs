//! Regular files: their chunks, and the proof of the chunk list.

use std::sync::Arc;

use crate::chunk::{Chunk, Digest};
use crate::image::content::ChunkGroup;
use crate::image::error::ImageError;
use crate::image::list::List;
use crate::image::metadata::Metadata;
use crate::image::model::NodeRef;
use crate::image::proof::{self, FANOUT, Leaf, ListHead, ListKind};
use crate::image::rafs::BLOCK;
use crate::image::rafs::chunk_index::{self, ChunkIndex};

/// A loaded regular file of a RAFS v6 image.
#[derive(Debug)]
pub struct ErofsFile {
    /// Number of chunks.
    count: u64,
    /// Offset of the chunk index in the bootstrap.
    index: u64,
    /// The list that groups are proved against; none without a section.
    list: Option<List>,
    /// The chunks of a file that has at most [`FANOUT`].
    first: Arc<[Chunk]>,
}

impl ErofsFile {
    /// Memory that the value holds, in bytes.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&self.first[..])
    }

    /// Number of chunks.
    pub fn chunks(&self) -> u64 {
        self.count
    }
}

impl Metadata {
    /// Loads a file's chunk list of up to [`FANOUT`] chunks whole, or the head
    /// of a longer one. Returns the file and the digest of its chunk list.
    pub(crate) fn load_file(
        &self,
        node: &NodeRef,
        size: u64,
        index: u64,
    ) -> Result<(ErofsFile, Digest), ImageError> {
        let count = size.div_ceil(u64::from(self.superblock.chunk_size));
        let head = ListHead {
            count,
            ..ListHead::default()
        };
        if count <= FANOUT as u64 {
            let (first, leaf) = self.read_chunks(size, index, 0, count)?;
            let top = if count == 0 { Digest::default() } else { leaf };
            let digest = proof::list_digest(ListKind::Chunks, &head, &top);
            return Ok((
                ErofsFile {
                    count,
                    index,
                    list: None,
                    first: first.into(),
                },
                digest,
            ));
        }
        let Some((proof, section)) = node.proof.zip(self.section) else {
            let file = ErofsFile {
                count,
                index,
                list: None,
                first: Arc::new([]),
            };
            return Ok((file, Digest::default()));
        };
        let levels = section.at(proof.record).ok_or_else(|| {
            self.bootstrap
                .damaged(format!("record of inode {}", node.nid))
        })?;
        let kind = ListKind::Chunks;
        let digest = List::digest_of_stored(&self.bootstrap, kind, head, levels)?;
        let list = Some(List {
            kind,
            head,
            digest,
            levels,
        });
        Ok((
            ErofsFile {
                count,
                index,
                list,
                first: Arc::new([]),
            },
            digest,
        ))
    }

    /// The group of chunks that holds chunk number `position` of a file of
    /// `size` bytes.
    ///
    /// # Errors
    /// When the chunk list cannot be read or proved.
    pub fn chunk_group(
        &self,
        file: &ErofsFile,
        size: u64,
        position: u64,
    ) -> Result<ChunkGroup, ImageError> {
        if file.count <= FANOUT as u64 {
            return Ok(ChunkGroup {
                start: 0,
                chunks: Arc::clone(&file.first),
            });
        }
        let group = position / FANOUT as u64;
        let start = group * FANOUT as u64;
        let count = file.count.saturating_sub(start).min(FANOUT as u64);
        let (chunks, leaf) = self.read_chunks(size, file.index, start, count)?;
        if let Some(list) = &file.list {
            list.prove(&self.bootstrap, group, leaf)?;
        }
        Ok(ChunkGroup {
            start,
            chunks: chunks.into(),
        })
    }

    /// Reads chunks `start..start + count` of a file, checks their lengths and
    /// slots, and hashes them as one leaf.
    fn read_chunks(
        &self,
        size: u64,
        index: u64,
        start: u64,
        count: u64,
    ) -> Result<(Vec<Chunk>, Digest), ImageError> {
        let chunk_size = u64::from(self.superblock.chunk_size);
        let len = usize::try_from(count).unwrap_or(FANOUT).min(FANOUT) * chunk_index::ENTRY;
        let at = index.saturating_add(start.saturating_mul(chunk_index::ENTRY as u64));
        let damaged = |reason: String| {
            let reason = format!("{reason} (in the chunk indices from offset {at:#x} on)");
            self.bootstrap.damaged(reason)
        };
        let mut bytes = [0; FANOUT * chunk_index::ENTRY];
        self.bootstrap.read_into(at, &mut bytes[..len])?;

        let mut leaf = Leaf::new(ListKind::Chunks);
        let mut chunks = Vec::with_capacity(len / chunk_index::ENTRY);
        for (bytes, position) in bytes[..len].chunks_exact(chunk_index::ENTRY).zip(start..) {
            let entry = ChunkIndex::parse(bytes).map_err(damaged)?;
            let wanted = chunk_size.min(size.saturating_sub(position.saturating_mul(chunk_size)));
            if self.superblock.is_tarfs() {
                chunks.push(tar_chunk(&entry, wanted));
                continue;
            }
            let (blob, index) = (entry.blob, entry.index);
            let chunk = self.layout.listed(&self.bootstrap, blob, index)?;
            let chunk = chunk
                .ok_or_else(|| damaged(format!("chunk {index} of blob {blob} is not listed")))?;
            // Tidegate takes the place from the record; the kernel's EROFS takes
            // it from here. An image must not be two.
            if u64::from(entry.block) * BLOCK != chunk.offset {
                let (index, block) = (chunk.index, entry.block);
                return Err(damaged(format!("chunk {index} is not at block {block}")));
            }
            if u64::from(chunk.len) != wanted {
                let (index, len) = (chunk.index, chunk.len);
                return Err(damaged(format!(
                    "chunk {index} has {len} bytes, not {wanted}"
                )));
            }
            leaf.chunk(&chunk.digest, chunk.len);
            chunks.push(chunk);
        }
        Ok((chunks, leaf.take()))
    }
}

/// The chunk of a file in a tar archive, which no table lists: its number is
/// that of its block. In the cache each block of 512 bytes has the room of one
/// of 4096, so that chunks begin at such and never overlap.
fn tar_chunk(entry: &ChunkIndex, len: u64) -> Chunk {
    const TAR_BLOCK: u64 = 512;
    let block = u64::from(entry.block);
    let len = u32::try_from(len).unwrap_or(0);
    Chunk {
        blob: entry.blob,
        index: entry.block,
        digest: Digest::default(),
        len,
        offset: block * BLOCK,
        stored_offset: block * TAR_BLOCK,
        stored_len: len,
        compressed: false,
    }
}
