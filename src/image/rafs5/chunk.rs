//! Chunk records of a file: 80 bytes each, behind the inode.
//!
//! Some carry a CRC-32C of the data. It is not looked at: the digest is of the
//! same bytes and cannot be forged.

use crate::chunk::Digest;
use crate::image::field::BadField;
use crate::image::rafs::{field, u32_at, u64_at};

/// Bytes of a record.
pub const LEN: usize = 80;

const COMPRESSED: u32 = 0x1;
/// Compressed, and with a CRC.
const KNOWN_FLAGS: u32 = COMPRESSED | 0x10;

/// A chunk record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkRecord {
    /// Digest of the uncompressed bytes.
    pub digest: Digest,
    /// Position of the blob in the blob table.
    pub blob: u16,
    /// Whether the stored form is compressed.
    pub compressed: bool,
    /// Length of the stored form.
    pub stored_len: u32,
    /// Uncompressed length.
    pub len: u32,
    /// Offset of the stored form in the blob.
    pub stored_offset: u64,
    /// Offset of the chunk in its file.
    pub file_offset: u64,
}

impl ChunkRecord {
    /// Parses the [`LEN`] bytes of a record at offset `at` of the bootstrap.
    ///
    /// # Errors
    /// Names the field that does not fit.
    pub fn parse(bytes: &[u8], at: u64) -> Result<Self, BadField> {
        let flags = u32_at(bytes, 36);
        if flags & !KNOWN_FLAGS != 0 {
            let why = format!("{flags:#x} (holes, encryption and batches are not of RAFS v5)");
            return Err(BadField::new("Chunk flags", at + 36, why));
        }
        let blob = u32_at(bytes, 32);
        Ok(Self {
            digest: Digest(field(bytes, 0)),
            blob: u16::try_from(blob)
                .map_err(|_| BadField::new("Blob index of a chunk", at + 32, blob.to_string()))?,
            compressed: flags & COMPRESSED != 0,
            stored_len: u32_at(bytes, 40),
            len: u32_at(bytes, 44),
            stored_offset: u64_at(bytes, 48),
            file_offset: u64_at(bytes, 64),
        })
    }

    /// Refuses a record that is not for `len` bytes at `offset` of its file.
    ///
    /// # Errors
    /// Names the field that does not fit.
    pub fn expect(&self, offset: u64, len: u64, at: u64) -> Result<(), BadField> {
        if self.file_offset != offset {
            let why = format!("{}, not {offset}", self.file_offset);
            return Err(BadField::new("File offset of a chunk", at + 64, why));
        }
        if u64::from(self.len) != len {
            let why = format!("{}, not {len}", self.len);
            return Err(BadField::new("Length of a chunk", at + 44, why));
        }
        Ok(())
    }
}
