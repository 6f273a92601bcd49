//! Where chunks lie in the cache.
//!
//! RAFS v5 has no list of chunks, and its own offsets in the cache need not be
//! aligned and may overlap. So the chunks of a blob are numbered anew in the
//! order of their stored form, and each gets the next multiple of 4096. The
//! same for every image that uses the same chunks of a blob.

use crate::chunk::Chunk;
use crate::image::rafs::BLOCK;
use crate::image::rafs5::chunk::ChunkRecord;

/// Most chunks of an image that are kept: as many as a chunk table of RAFS v6
/// may have.
const CHUNKS_MAX: usize = (512 << 20) / 80;

/// Records that are collected before doubles are taken out.
const SPARE: usize = 1 << 16;

/// What makes a chunk of a blob another one than its neighbour.
fn key(chunk: &Chunk) -> (u16, u64, u32, u32, bool, [u8; 32]) {
    (
        chunk.blob,
        chunk.stored_offset,
        chunk.stored_len,
        chunk.len,
        chunk.compressed,
        chunk.digest.0,
    )
}

fn unplaced(record: &ChunkRecord) -> Chunk {
    Chunk {
        blob: record.blob,
        index: 0,
        digest: record.digest,
        len: record.len,
        offset: 0,
        stored_offset: record.stored_offset,
        stored_len: record.stored_len,
        compressed: record.compressed,
    }
}

/// All chunks of an image, by blob and place.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    chunks: Vec<Chunk>,
}

/// Chunks on the way to their slots.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    chunks: Vec<Chunk>,
    distinct: usize,
}

impl Collection {
    /// Adds the chunk of a record; false if there are too many.
    pub(crate) fn add(&mut self, record: &ChunkRecord) -> bool {
        if self.chunks.len() >= self.distinct * 2 + SPARE {
            self.distil();
        }
        self.chunks.push(unplaced(record));
        self.distinct <= CHUNKS_MAX
    }

    fn distil(&mut self) {
        self.chunks.sort_unstable_by_key(key);
        self.chunks.dedup();
        self.distinct = self.chunks.len();
    }

    /// Numbers and places the chunks.
    pub(crate) fn place(mut self) -> Slots {
        self.distil();
        for blob in self.chunks.chunk_by_mut(|one, next| one.blob == next.blob) {
            let mut offset = 0;
            for (chunk, index) in blob.iter_mut().zip(0..) {
                (chunk.index, chunk.offset) = (index, offset);
                offset += u64::from(chunk.len).next_multiple_of(BLOCK);
            }
        }
        self.chunks.shrink_to_fit();
        Slots {
            chunks: self.chunks,
        }
    }
}

impl Slots {
    /// Length of all blobs' uncompressed layouts.
    pub(crate) fn bytes(&self) -> u64 {
        let aligned = |chunk: &Chunk| u64::from(chunk.len).next_multiple_of(BLOCK);
        self.chunks.iter().map(aligned).sum()
    }

    /// The chunks of a blob.
    pub(crate) fn of(&self, blob: u16) -> &[Chunk] {
        let start = self.chunks.partition_point(|chunk| chunk.blob < blob);
        let end = self.chunks.partition_point(|chunk| chunk.blob <= blob);
        self.chunks.get(start..end).unwrap_or_default()
    }

    /// The chunk with a number.
    pub(crate) fn get(&self, blob: u16, index: u32) -> Option<Chunk> {
        let found = self
            .chunks
            .binary_search_by_key(&(blob, index), |chunk| (chunk.blob, chunk.index));
        found.ok().and_then(|at| self.chunks.get(at)).copied()
    }

    /// The chunk that a record describes.
    pub(crate) fn find(&self, record: &ChunkRecord) -> Option<Chunk> {
        let wanted = key(&unplaced(record));
        let found = self.chunks.binary_search_by_key(&wanted, key);
        found.ok().and_then(|at| self.chunks.get(at)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::Digest;

    fn record(blob: u16, stored_offset: u64, len: u32) -> ChunkRecord {
        ChunkRecord {
            digest: Digest([len.to_le_bytes()[0]; 32]),
            blob,
            compressed: true,
            stored_len: len / 2,
            len,
            stored_offset,
            file_offset: 0,
        }
    }

    #[test]
    fn chunks_get_aligned_slots_in_the_order_of_the_blob_whatever_the_order_of_files() {
        let records = [
            record(1, 0, 5000),
            record(0, 900, 4096),
            record(0, 100, 1),
            record(0, 900, 4096),
            record(0, 500, 4097),
        ];
        let mut forwards = Collection::default();
        let mut backwards = Collection::default();
        assert!(records.iter().all(|it| forwards.add(it)));
        assert!(records.iter().rev().all(|it| backwards.add(it)));
        let (slots, same) = (forwards.place(), backwards.place());
        assert_eq!(slots.chunks, same.chunks);
        let places: Vec<_> = slots
            .of(0)
            .iter()
            .map(|it| (it.index, it.stored_offset, it.offset))
            .collect();
        assert_eq!(places, [(0, 100, 0), (1, 500, 4096), (2, 900, 12_288)]);
        for it in &records {
            let chunk = slots.find(it).unwrap();
            assert_eq!(slots.get(chunk.blob, chunk.index), Some(chunk));
        }
        assert_eq!(slots.find(&record(0, 901, 4096)), None);
        assert!(slots.of(2).is_empty());
    }
}
