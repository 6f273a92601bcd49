//! Chunks that other images have already.

use std::collections::HashMap;

use super::PackedBlob;
use crate::chunk::{Chunk, Digest, DigestAlgorithm};

/// Where a dictionary has a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DictChunk {
    /// Position of the blob in the dictionary.
    pub blob: usize,
    /// Index of the chunk inside that blob.
    pub index: u32,
}

/// Chunks that need not be written since another image's blob has them.
pub trait Dict: Sync {
    /// The chunk of `len` bytes with that digest.
    fn find(&self, digest: &Digest, len: u32) -> Option<DictChunk>;

    /// A blob and all its chunks in index order. Called only with positions
    /// that [`Dict::find`] gave.
    fn blob(&self, blob: usize) -> (&PackedBlob, &[Chunk]);
}

/// A dictionary of nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDict;

static NO_BLOB: PackedBlob = PackedBlob {
    id: String::new(),
    compressor: crate::chunk::Compressor::None,
    algorithm: DigestAlgorithm::Sha256,
    chunks: 0,
    uncompressed_size: 0,
    stored_size: 0,
    table_compressor: crate::chunk::Compressor::None,
    table_offset: 0,
    table_stored_size: 0,
    table_size: 0,
    dict: true,
    features: 0,
    toc: None,
    meta: None,
};

impl Dict for NoDict {
    fn find(&self, _: &Digest, _: u32) -> Option<DictChunk> {
        None
    }

    fn blob(&self, _: usize) -> (&PackedBlob, &[Chunk]) {
        (&NO_BLOB, &[])
    }
}

/// A dictionary in memory: the blobs of other images.
#[derive(Debug, Default)]
pub struct ChunkDict {
    blobs: Vec<(PackedBlob, Vec<Chunk>)>,
    places: HashMap<(Digest, u32), DictChunk>,
}

impl ChunkDict {
    /// A dictionary of those blobs, each with all its chunks in index order.
    /// Of several copies of a chunk the first counts. Chunks that `algorithm`
    /// did not name are left out.
    pub fn new(blobs: Vec<(PackedBlob, Vec<Chunk>)>, algorithm: DigestAlgorithm) -> Self {
        let mut places = HashMap::new();
        for (blob, (info, chunks)) in blobs.iter().enumerate() {
            if info.algorithm != algorithm {
                continue;
            }
            for (index, chunk) in (0..).zip(chunks) {
                places
                    .entry((chunk.digest, chunk.len))
                    .or_insert(DictChunk { blob, index });
            }
        }
        Self { blobs, places }
    }
}

impl Dict for ChunkDict {
    fn find(&self, digest: &Digest, len: u32) -> Option<DictChunk> {
        self.places.get(&(*digest, len)).copied()
    }

    fn blob(&self, blob: usize) -> (&PackedBlob, &[Chunk]) {
        match self.blobs.get(blob) {
            Some((info, chunks)) => (info, chunks),
            None => (&NO_BLOB, &[]),
        }
    }
}
