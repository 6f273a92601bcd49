//! Records of the chunk table: 80 bytes for each chunk.

use super::{field, put, u32_at, u64_at};
use crate::chunk::{Chunk, Digest};

/// Bytes of a record.
pub const RECORD: usize = 80;

const COMPRESSED: u32 = 0x1;
const HOLE: u32 = 0x2;
const ENCRYPTED: u32 = 0x4;
const KNOWN: u32 = 0x1f;

/// Parses a record of [`RECORD`] bytes.
///
/// # Errors
/// Says which field does not fit.
pub fn parse(record: &[u8]) -> Result<Chunk, String> {
    let flags = u32_at(record, 36);
    if flags & !KNOWN != 0 || flags & HOLE != 0 {
        return Err(format!("chunk flags {flags:#x} of a record"));
    }
    let blob = u32_at(record, 32);
    Ok(Chunk {
        digest: Digest(field(record, 0)),
        blob: u16::try_from(blob).map_err(|_| format!("blob index {blob} of a chunk"))?,
        index: u32_at(record, 72),
        len: u32_at(record, 44),
        offset: u64_at(record, 56),
        stored_offset: u64_at(record, 48),
        stored_len: u32_at(record, 40),
        compressed: flags & COMPRESSED != 0,
    })
}

/// Whether a record says that its chunk is encrypted.
pub fn is_encrypted(record: &[u8]) -> bool {
    u32_at(record, 36) & ENCRYPTED != 0
}

/// Encodes a record. `file_offset` is where the chunk is in a file that uses
/// it; nothing reads it. The CRC field stays 0, so that readers take the
/// digest.
pub fn encode(chunk: &Chunk, file_offset: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    put(&mut record, 0, &chunk.digest.0);
    put(&mut record, 32, &u32::from(chunk.blob).to_le_bytes());
    put(&mut record, 36, &u32::from(chunk.compressed).to_le_bytes());
    put(&mut record, 40, &chunk.stored_len.to_le_bytes());
    put(&mut record, 44, &chunk.len.to_le_bytes());
    put(&mut record, 48, &chunk.stored_offset.to_le_bytes());
    put(&mut record, 56, &chunk.offset.to_le_bytes());
    put(&mut record, 64, &file_offset.to_le_bytes());
    put(&mut record, 72, &chunk.index.to_le_bytes());
    record
}
