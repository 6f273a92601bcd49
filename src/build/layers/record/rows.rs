//! The tables of a record.

use serde::{Deserialize, Serialize};

use super::super::changes::Whiteout;
use crate::build::options::BuildOptions;
use crate::build::pack::PackedBlob;
use crate::chunk::{Chunk, Compressor, Digest, DigestAlgorithm};

/// Rows of a table in one frame.
pub(super) const ROWS: usize = 4096;

/// A piece of a table.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Table {
    Head(Head),
    Blob(BlobRow),
    Whiteouts(Vec<Whiteout>),
    Chunks(Vec<ChunkRow>),
    References(Vec<u32>),
}

/// What was converted, and how.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) layer: [u8; 32],
    pub(super) chunk_size: u32,
    pub(super) compressor: u32,
    pub(super) level: i32,
    pub(super) algorithm: u32,
    pub(super) entries: u64,
}

impl Head {
    pub(super) fn new(layer: Digest, options: &BuildOptions) -> Self {
        Self {
            layer: layer.0,
            chunk_size: options.chunk_size,
            compressor: options.compressor.id(),
            level: options.zstd_level,
            algorithm: options.algorithm.id(),
            entries: 0,
        }
    }

    pub(super) fn describe(&self) -> String {
        let algorithm = algorithm(self.algorithm);
        let algorithm = algorithm.map_or("unknown".into(), |it| format!("{it:?}"));
        format!("chunks of {} bytes named by {algorithm}", self.chunk_size)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BlobRow {
    id: [u8; 32],
    compressor: u32,
    algorithm: u32,
    chunks: u32,
    uncompressed_size: u64,
    stored_size: u64,
    table_compressor: u32,
    table: (u64, u64, u64),
    dict: bool,
    features: u32,
    toc: Option<(u32, [u8; 32])>,
    meta: Option<([u8; 32], u64)>,
}

impl BlobRow {
    pub(super) fn new(blob: &PackedBlob) -> Self {
        Self {
            id: Digest::parse(&blob.id).unwrap_or_default().0,
            compressor: blob.compressor.id(),
            algorithm: blob.algorithm.id(),
            chunks: blob.chunks,
            uncompressed_size: blob.uncompressed_size,
            stored_size: blob.stored_size,
            table_compressor: blob.table_compressor.id(),
            table: (blob.table_offset, blob.table_stored_size, blob.table_size),
            dict: blob.dict,
            features: blob.features,
            toc: blob.toc.map(|(len, digest)| (len, digest.0)),
            meta: blob.meta.map(|(digest, len)| (digest.0, len)),
        }
    }

    pub(super) fn read(&self) -> Result<PackedBlob, String> {
        let compressor =
            |id| Compressor::from_id(id).ok_or_else(|| format!("there is no compressor {id}"));
        let algorithm =
            algorithm(self.algorithm).ok_or_else(|| String::from("there is no such digest"))?;
        Ok(PackedBlob {
            id: Digest(self.id).to_string(),
            compressor: compressor(self.compressor)?,
            algorithm,
            chunks: self.chunks,
            uncompressed_size: self.uncompressed_size,
            stored_size: self.stored_size,
            table_compressor: compressor(self.table_compressor)?,
            table_offset: self.table.0,
            table_stored_size: self.table.1,
            table_size: self.table.2,
            dict: self.dict,
            features: self.features,
            toc: self.toc.map(|(len, digest)| (len, Digest(digest))),
            meta: self.meta.map(|(digest, len)| (Digest(digest), len)),
        })
    }
}

fn algorithm(id: u32) -> Option<DigestAlgorithm> {
    let all = [DigestAlgorithm::Blake3, DigestAlgorithm::Sha256];
    all.into_iter().find(|algorithm| algorithm.id() == id)
}

/// A chunk, but for its blob and index, which follow from its place.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChunkRow {
    digest: [u8; 32],
    len: u32,
    offset: u64,
    stored_offset: u64,
    stored_len: u32,
    compressed: bool,
}

impl ChunkRow {
    pub(super) fn new(chunk: &Chunk) -> Self {
        Self {
            digest: chunk.digest.0,
            len: chunk.len,
            offset: chunk.offset,
            stored_offset: chunk.stored_offset,
            stored_len: chunk.stored_len,
            compressed: chunk.compressed,
        }
    }

    pub(super) fn read(&self, blob: u16, index: u32) -> Chunk {
        Chunk {
            blob,
            index,
            digest: Digest(self.digest),
            len: self.len,
            offset: self.offset,
            stored_offset: self.stored_offset,
            stored_len: self.stored_len,
            compressed: self.compressed,
        }
    }
}
