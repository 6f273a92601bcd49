//! Chunk index entries of a regular file's inode: 8 bytes for each chunk.

use super::{u16_at, u32_at};

/// Bytes of an entry.
pub const ENTRY: usize = 8;

/// Largest chunk index inside a blob: the field has 24 bits.
pub const INDEX_MAX: u32 = 0xff_ffff;

/// Bits of an inode's chunk format field that say "8-byte entries".
pub const FORMAT_INDEXES: u32 = 0x20;

/// Where a chunk of a file is: blob, chunk index in it, block in the
/// uncompressed layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkIndex {
    /// Position in the blob table, from 0.
    pub blob: u16,
    /// Index of the chunk in the blob.
    pub index: u32,
    /// Block of the uncompressed layout.
    pub block: u32,
}

impl ChunkIndex {
    /// Parses an entry of [`ENTRY`] bytes.
    ///
    /// # Errors
    /// When the entry names no blob.
    pub fn parse(entry: &[u8]) -> Result<Self, String> {
        let (low, high) = (u16_at(entry, 0), u16_at(entry, 2));
        let device = high & 0xff;
        let blob = device
            .checked_sub(1)
            .ok_or("a chunk index without a blob")?;
        Ok(Self {
            blob,
            index: u32::from(high >> 8) << 16 | u32::from(low),
            block: u32_at(entry, 4),
        })
    }

    /// Encodes the entry.
    pub fn encode(&self) -> [u8; ENTRY] {
        let [low0, low1, high, _] = self.index.to_le_bytes();
        let [blob, _] = (self.blob + 1).to_le_bytes();
        let [b0, b1, b2, b3] = self.block.to_le_bytes();
        [low0, low1, blob, high, b0, b1, b2, b3]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_hold_24_bit_indices_and_254_blobs() {
        for (blob, index) in [(0, 0), (0, 0xffff), (254, INDEX_MAX), (3, 0x1_0000)] {
            let entry = ChunkIndex {
                blob,
                index,
                block: 77,
            };
            assert_eq!(ChunkIndex::parse(&entry.encode()), Ok(entry));
        }
        assert!(ChunkIndex::parse(&[0; 8]).is_err());
    }
}
