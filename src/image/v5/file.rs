//! Regular files: their chunk records, proved when the file is loaded.
//!
//! Of a file with many chunks a hash of each group of records stays in memory,
//! so that a group that is read again is what was proved.

use std::sync::Arc;

use crate::chunk::{Chunk, Digest, DigestAlgorithm};
use crate::image::content::ChunkGroup;
use crate::image::error::ImageError;
use crate::image::proof::FANOUT;
use crate::image::rafs5::chunk::{self, ChunkRecord};
use crate::image::rafs5::inode::Inode;
use crate::image::v5::V5;
use crate::image::v5::hasher::Hasher;
use crate::image::v5::window::Window;

/// A loaded regular file of a RAFS v5 image.
#[derive(Debug)]
pub struct V5File {
    /// Number of chunks.
    count: u64,
    /// Offset of the chunk records in the bootstrap.
    at: u64,
    /// The chunks of a file that has at most [`FANOUT`].
    first: Arc<[Chunk]>,
    /// Of a longer file the hash of each group's records.
    seals: Box<[Digest]>,
}

impl V5File {
    /// Memory that the value holds, in bytes.
    pub(crate) fn memory(&self) -> usize {
        size_of_val(&self.first[..]) + size_of_val(&self.seals[..])
    }

    /// Number of chunks.
    pub(crate) fn chunks(&self) -> u64 {
        self.count
    }
}

impl V5 {
    /// Loads a file's chunk records and computes the digest of its content.
    pub(super) fn load_file(
        &self,
        window: &mut Window<'_>,
        inode: &Inode,
    ) -> Result<(V5File, Digest), ImageError> {
        inode
            .check_chunk_count(self.superblock.chunk_size)
            .map_err(|bad| self.bad(&bad))?;
        let at = inode.chunks_at(window)?.ok_or_else(|| {
            let reason = format!("xattrs of the inode record at offset {:#x}", inode.at);
            self.bootstrap.damaged(reason)
        })?;
        let mut file = V5File {
            count: inode.child_count.into(),
            at,
            first: Arc::new([]),
            seals: Box::default(),
        };
        let mut hasher = Hasher::new(self.superblock.algorithm);
        let mut seals = Vec::new();
        for start in (0..file.count).step_by(FANOUT) {
            let (chunks, seal) = self.read_chunks(window, &file, inode.attr.size, start)?;
            for chunk in &chunks {
                hasher.update(&chunk.digest);
            }
            if file.count <= FANOUT as u64 {
                file.first = chunks.into();
            } else {
                seals.push(seal);
            }
        }
        file.seals = seals.into();
        Ok((file, hasher.finish()))
    }

    /// The group of chunks that holds chunk number `position` of a file of
    /// `size` bytes.
    ///
    /// # Errors
    /// When the chunk records cannot be read or are not those that were proved.
    pub(crate) fn chunk_group(
        &self,
        file: &V5File,
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
        let mut window = Window::new(&self.bootstrap);
        let (chunks, seal) = self.read_chunks(&mut window, file, size, start)?;
        let proved = usize::try_from(group)
            .ok()
            .and_then(|it| file.seals.get(it));
        if proved != Some(&seal) {
            let what = format!(
                "group {group} of the chunk records at offset {:#x}",
                file.at
            );
            return Err(self.bootstrap.unproved(what));
        }
        Ok(ChunkGroup {
            start,
            chunks: chunks.into(),
        })
    }

    /// Reads the group of chunk records that begins with number `start`, and
    /// hashes it.
    fn read_chunks(
        &self,
        window: &mut Window<'_>,
        file: &V5File,
        size: u64,
        start: u64,
    ) -> Result<(Vec<Chunk>, Digest), ImageError> {
        let count = file.count.saturating_sub(start).min(FANOUT as u64);
        let len = usize::try_from(count).unwrap_or(FANOUT) * chunk::LEN;
        let from = file
            .at
            .saturating_add(start.saturating_mul(chunk::LEN as u64));
        let bytes = window.exactly(from, len)?;
        let seal = DigestAlgorithm::Blake3.digest(bytes);
        let chunk_size = u64::from(self.superblock.chunk_size);
        let mut chunks = Vec::with_capacity(FANOUT);
        for (bytes, number) in bytes.chunks_exact(chunk::LEN).zip(0u64..) {
            let at = from + number * chunk::LEN as u64;
            let offset = (start + number).saturating_mul(chunk_size);
            let len = chunk_size.min(size.saturating_sub(offset));
            let record = ChunkRecord::parse(bytes, at).map_err(|bad| self.bad(&bad))?;
            record
                .expect(offset, len, at)
                .map_err(|bad| self.bad(&bad))?;
            let chunk = self.slots.find(&record).ok_or_else(|| {
                let reason =
                    format!("chunk record at offset {at:#x} is of no blob or past its end");
                self.bootstrap.damaged(reason)
            })?;
            chunks.push(chunk);
        }
        Ok((chunks, seal))
    }
}
