//! What the cache keeps on disk about each chunk, so that it can be evicted,
//! verified and found from other images without the image at hand.
//!
//! A blob's `.table` holds one record of 64 bytes per chunk, at 64 times its
//! index, little-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | offset of the chunk in the data file |
//! | 8..12 | length in bytes |
//! | 12 | digest algorithm (RAFS id) |
//! | 13..16 | 0 |
//! | 16..48 | digest |
//! | 48..56 | 0 |
//! | 56..64 | first 8 bytes of BLAKE3 over (blob's key, index, bytes 0..56) |
//!
//! The check keeps torn and misplaced records from naming bytes that are
//! somebody else's. It proves nothing: who can write here can compute it.

use crate::chunk::{CHUNK_SIZE_RANGE, Chunk, Digest, DigestAlgorithm};

/// Bytes of one record.
pub(in crate::store) const LEN: usize = 64;

/// Bytes in front of the check.
const BODY: usize = 56;

/// The smallest unit of a data file that is given back to the file system.
pub(in crate::store) const BLOCK: u64 = 4096;

/// Where a chunk lies in its data file and which bytes it must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::store) struct Record {
    pub(in crate::store) offset: u64,
    pub(in crate::store) len: u32,
    pub(in crate::store) algorithm: DigestAlgorithm,
    pub(in crate::store) digest: Digest,
}

impl Record {
    /// The record of a chunk whose digest is by `algorithm`.
    pub(in crate::store) fn of(algorithm: DigestAlgorithm, chunk: &Chunk) -> Self {
        Self {
            offset: chunk.offset,
            len: chunk.len,
            algorithm,
            digest: chunk.digest,
        }
    }

    /// The bytes of the record for chunk `index` of the blob with key `stem`.
    pub(in crate::store) fn encode(&self, stem: &str, index: u32) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12] = algorithm_id(self.algorithm);
        bytes[16..48].copy_from_slice(&self.digest.0);
        let check = check(stem, index, &bytes[..BODY]);
        bytes[BODY..].copy_from_slice(&check);
        bytes
    }

    /// Reads a record back. None: it was never written, is torn, stands in
    /// another's place, or says what no chunk can be.
    pub(in crate::store) fn decode(stem: &str, index: u32, bytes: &[u8]) -> Option<Self> {
        let (body, check_bytes) = bytes.split_at_checked(BODY)?;
        let record = Self::decode_unchecked(bytes)?;
        (check(stem, index, body) == *check_bytes).then_some(record)
    }

    /// Reads the fields and does not look at the check: for sums, not for deeds.
    pub(in crate::store) fn decode_unchecked(bytes: &[u8]) -> Option<Self> {
        let len = u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
        let offset = u64::from_le_bytes(*bytes.first_chunk()?);
        let end = offset.checked_add(len.into())?.checked_add(BLOCK)?;
        let fits = len > 0 && len <= *CHUNK_SIZE_RANGE.end() && offset.is_multiple_of(BLOCK);
        if !fits || i64::try_from(end).is_err() {
            return None;
        }
        let algorithm = match bytes.get(12)? {
            0 => DigestAlgorithm::Blake3,
            1 => DigestAlgorithm::Sha256,
            _ => return None,
        };
        let digest = Digest(*bytes.get(16..)?.first_chunk()?);
        Some(Self {
            offset,
            len,
            algorithm,
            digest,
        })
    }

    /// Bytes that the chunk takes in the data file: whole blocks.
    pub(in crate::store) fn space(&self) -> u64 {
        space(self.len)
    }
}

/// Bytes that a chunk of `len` bytes takes in the data file.
pub(in crate::store) fn space(len: u32) -> u64 {
    u64::from(len).next_multiple_of(BLOCK)
}

/// The number that stands for an algorithm on disk.
pub(in crate::store) fn algorithm_id(algorithm: DigestAlgorithm) -> u8 {
    match algorithm {
        DigestAlgorithm::Blake3 => 0,
        DigestAlgorithm::Sha256 => 1,
    }
}

fn check(stem: &str, index: u32, body: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(stem.as_bytes());
    hasher.update(&index.to_le_bytes());
    hasher.update(body);
    let mut check = [0; 8];
    hasher.finalize_xof().fill(&mut check);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record {
        offset: 1 << 30,
        len: 70_001,
        algorithm: DigestAlgorithm::Sha256,
        digest: Digest([9; 32]),
    };

    #[test]
    fn a_record_is_read_back_in_its_place_only() {
        let bytes = RECORD.encode("blob", 7);
        assert_eq!(Record::decode("blob", 7, &bytes), Some(RECORD));
        assert_eq!(Record::decode("blob", 8, &bytes), None);
        assert_eq!(Record::decode("other", 7, &bytes), None);
        assert_eq!(RECORD.space(), 73_728);
    }

    #[test]
    fn a_record_with_any_flipped_bit_or_cut_short_is_none() {
        let bytes = RECORD.encode("blob", 7);
        for bit in 0..LEN * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode("blob", 7, &bytes), None, "bit {bit}");
        }
        for len in 0..LEN {
            assert_eq!(Record::decode("blob", 7, &bytes[..len]), None);
        }
        assert_eq!(Record::decode("blob", 7, &[0; LEN]), None);
    }

    #[test]
    fn what_no_chunk_can_be_is_no_record() {
        for (offset, len) in [(0, 0), (1, 1), (0, (16 << 20) + 1), (!4095, 9)] {
            let record = Record {
                offset,
                len,
                ..RECORD
            };
            let bytes = record.encode("blob", 0);
            assert_eq!(Record::decode("blob", 0, &bytes), None, "{offset} {len}");
        }
    }
}
