//! Blob table entries: 256 bytes for each blob.

use super::{put, u32_at, u64_at};
use crate::chunk::{Compressor, DigestAlgorithm};

/// Bytes of an entry.
pub const ENTRY: usize = 256;

/// Uncompressed chunks start at multiples of 4 KiB.
pub const ALIGNED: u32 = 0x1;
/// The chunk-info table has entries of 24 bytes.
pub const INFO_V2: u32 = 0x4;
/// Data is inside an original tar.gz.
pub const ZRAN: u32 = 0x8;
/// Data and chunk info are two blobs.
pub const SEPARATE: u32 = 0x10;
/// Data is an original tar.
pub const TARFS: u32 = 0x40;
/// Small files share a compressed unit.
pub const BATCH: u32 = 0x80;
/// Data is encrypted.
pub const ENCRYPTED: u32 = 0x100;
/// Content lies in a foreign storage.
pub const EXTERNAL: u32 = 0x800;
/// Sizes and ids follow the rules of release 2.2 and later.
pub const CAP_TAR_TOC: u32 = 0x4000_0000;

/// One entry of the blob table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobEntry {
    /// Name of the blob: 64 hexadecimal digits.
    pub id: String,
    /// Position in the table.
    pub index: u32,
    /// Chunk size in bytes.
    pub chunk_size: u32,
    /// Number of chunks.
    pub chunks: u32,
    /// Compressor of chunk data.
    pub compressor: Compressor,
    /// Algorithm of chunk digests.
    pub algorithm: DigestAlgorithm,
    /// Feature bits.
    pub features: u32,
    /// Length of the blob file.
    pub stored_size: u64,
    /// Length of the uncompressed layout.
    pub uncompressed_size: u64,
    /// Compressor of the chunk-info table.
    pub info_compressor: Compressor,
    /// Chunk-info table: offset in the blob, stored and raw length.
    pub info: (u64, u64, u64),
}

impl BlobEntry {
    /// Parses an entry of [`ENTRY`] bytes.
    ///
    /// # Errors
    /// Says which field does not fit.
    pub fn parse(entry: &[u8]) -> Result<Self, String> {
        let id: Vec<u8> = entry
            .iter()
            .take(64)
            .copied()
            .take_while(|&byte| byte != 0)
            .collect();
        let is_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if id.len() != 64 || !id.iter().all(is_hex) {
            return Err(format!("blob id {:?}", String::from_utf8_lossy(&id)));
        }
        let algorithm = match u32_at(entry, 80) {
            0 => DigestAlgorithm::Blake3,
            1 => DigestAlgorithm::Sha256,
            other => return Err(format!("digest algorithm {other}")),
        };
        let compressor_at = |at| {
            let id = u32_at(entry, at);
            Compressor::from_id(id).ok_or_else(|| format!("compressor {id}"))
        };
        Ok(Self {
            id: String::from_utf8_lossy(&id).into_owned(),
            index: u32_at(entry, 64),
            chunk_size: u32_at(entry, 68),
            chunks: u32_at(entry, 72),
            compressor: compressor_at(76)?,
            algorithm,
            features: u32_at(entry, 84),
            stored_size: u64_at(entry, 88),
            uncompressed_size: u64_at(entry, 96),
            info_compressor: compressor_at(108)?,
            info: (u64_at(entry, 112), u64_at(entry, 120), u64_at(entry, 128)),
        })
    }

    /// Encodes the entry.
    pub fn encode(&self) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        put(&mut entry, 0, self.id.as_bytes());
        put(&mut entry, 64, &self.index.to_le_bytes());
        put(&mut entry, 68, &self.chunk_size.to_le_bytes());
        put(&mut entry, 72, &self.chunks.to_le_bytes());
        put(&mut entry, 76, &self.compressor.id().to_le_bytes());
        put(&mut entry, 80, &self.algorithm.id().to_le_bytes());
        put(&mut entry, 84, &self.features.to_le_bytes());
        put(&mut entry, 88, &self.stored_size.to_le_bytes());
        put(&mut entry, 96, &self.uncompressed_size.to_le_bytes());
        put(&mut entry, 108, &self.info_compressor.id().to_le_bytes());
        put(&mut entry, 112, &self.info.0.to_le_bytes());
        put(&mut entry, 120, &self.info.1.to_le_bytes());
        put(&mut entry, 128, &self.info.2.to_le_bytes());
        entry
    }
}
