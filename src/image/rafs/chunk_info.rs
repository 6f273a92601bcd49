//! Records of a blob's chunk-info table: 16 bytes (v1) or 24 (v2) per chunk.

use super::{put, u64_at};

/// Bytes of a v1 record.
pub const V1: usize = 16;

/// Bytes of a v2 record.
pub const V2: usize = 24;

const COMPRESSED: u64 = 0x01;
const ZRAN: u64 = 0x02;
const BATCH: u64 = 0x04;
const ENCRYPTED: u64 = 0x08;
const CRC: u64 = 0x10;
const KNOWN: u64 = 0x1f;

/// Where a chunk's stored form is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// By itself.
    Alone {
        /// Offset in the blob.
        offset: u64,
        /// Length in the blob.
        len: u32,
        /// Whether it is compressed.
        compressed: bool,
        /// CRC-32C of the uncompressed bytes, where there is one.
        crc: Option<u32>,
    },
    /// In the output of a context.
    Shared {
        /// Number of the context.
        context: u32,
        /// Offset in the blob: of a batch, or of the chunk's part of a stream.
        at: u64,
        /// Offset in its output.
        offset: u32,
        /// Whether the context enters a gzip stream (or else is a batch).
        zran: bool,
    },
}

/// What a record says of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkInfo {
    /// Offset in the uncompressed layout.
    pub offset: u64,
    /// Uncompressed length, 1 to 16 MiB.
    pub len: u32,
    /// Where its bytes are.
    pub stored: Stored,
    /// Whether they are encrypted.
    pub encrypted: bool,
}

/// The low `bits` bits of `word >> shift`.
fn bits(word: u64, shift: u32, bits: u32) -> u64 {
    (word >> shift) & ((1 << bits) - 1)
}

/// Values of at most 32 bits, by construction.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl ChunkInfo {
    /// Parses a v1 record of [`V1`] bytes.
    pub fn parse_v1(record: &[u8]) -> Self {
        let (plain, stored) = (u64_at(record, 0), u64_at(record, 8));
        let len = narrow(bits(plain, 44, 20) | bits(plain, 8, 4) << 20) + 1;
        let stored_len = narrow(bits(stored, 44, 20) | bits(stored, 40, 4) << 20) + 1;
        Self {
            offset: plain & 0xfff_ffff_f000,
            len,
            stored: Stored::Alone {
                offset: bits(stored, 0, 40),
                len: stored_len,
                compressed: stored_len != len,
                crc: None,
            },
            encrypted: false,
        }
    }

    /// Parses a v2 record of [`V2`] bytes.
    ///
    /// # Errors
    /// When flags are set that do not go together or are not known.
    pub fn parse_v2(record: &[u8]) -> Result<Self, String> {
        let (plain, stored, data) = (u64_at(record, 0), u64_at(record, 8), u64_at(record, 16));
        let flags = bits(plain, 56, 8);
        let shared = flags & (ZRAN | BATCH);
        if flags & !KNOWN != 0 || shared == ZRAN | BATCH || (shared != 0 && flags & CRC != 0) {
            return Err(format!("chunk flags {flags:#x}"));
        }
        let stored = if shared == 0 {
            Stored::Alone {
                offset: bits(stored, 0, 40),
                len: narrow(bits(stored, 40, 24)),
                compressed: flags & COMPRESSED != 0,
                crc: (flags & CRC != 0).then_some(narrow(bits(data, 0, 32))),
            }
        } else {
            Stored::Shared {
                context: narrow(bits(data, 32, 32)),
                at: bits(stored, 0, 40),
                offset: narrow(bits(data, 0, 32)),
                zran: shared == ZRAN,
            }
        };
        Ok(Self {
            offset: bits(plain, 0, 32) << 12,
            len: narrow(bits(plain, 32, 24)) + 1,
            stored,
            encrypted: flags & ENCRYPTED != 0,
        })
    }

    /// Encodes a v2 record. `stored_len` is the length in the blob of a shared
    /// chunk's part; of others it is known.
    pub fn encode_v2(&self, stored_len: u32) -> [u8; V2] {
        let mut flags = if self.encrypted { ENCRYPTED } else { 0 };
        let (offset, len, data) = match self.stored {
            Stored::Alone {
                offset,
                len,
                compressed,
                crc,
            } => {
                flags |= if compressed { COMPRESSED } else { 0 };
                flags |= if crc.is_some() { CRC } else { 0 };
                (offset, len, u64::from(crc.unwrap_or(0)))
            }
            Stored::Shared {
                context,
                at,
                offset,
                zran,
            } => {
                flags |= if zran { COMPRESSED | ZRAN } else { BATCH };
                (at, stored_len, u64::from(context) << 32 | u64::from(offset))
            }
        };
        let size = u64::from(self.len.saturating_sub(1));
        let words = [
            flags << 56 | size << 32 | self.offset >> 12,
            u64::from(len) << 40 | offset,
            data,
        ];
        let mut record = [0; V2];
        for (word, at) in words.into_iter().zip([0, 8, 16]) {
            put(&mut record, at, &word.to_le_bytes());
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_records_hold_24_bit_sizes_in_two_parts() {
        let (len, stored_len) = (0xab_cdef_u64, 0x12_3456_u64);
        let plain = ((len - 1) & 0xf_ffff) << 44 | 0x123_4567_8000 | ((len - 1) >> 20) << 8;
        let stored =
            ((stored_len - 1) & 0xf_ffff) << 44 | ((stored_len - 1) >> 20) << 40 | 0xff_1234;
        let record = [plain.to_le_bytes(), stored.to_le_bytes()].concat();
        let info = ChunkInfo::parse_v1(&record);
        assert_eq!((info.offset, u64::from(info.len)), (0x123_4567_8000, len));
        let expected = Stored::Alone {
            offset: 0xff_1234,
            len: 0x12_3456,
            compressed: true,
            crc: None,
        };
        assert_eq!(info.stored, expected);
        let largest = ChunkInfo::parse_v1(&[0xff; V1]);
        assert_eq!(largest.len, 16 << 20);
    }

    #[test]
    fn v2_records_say_by_flags_where_the_bytes_are() {
        let record = |flags: u64, data: u64| {
            let plain = flags << 56 | 99 << 32 | 7;
            [plain, 50 << 40 | 4096, data]
                .map(u64::to_le_bytes)
                .concat()
        };
        let info = ChunkInfo::parse_v2(&record(0x19, 0xdead_beef)).unwrap();
        assert_eq!(
            (info.offset, info.len, info.encrypted),
            (7 << 12, 100, true)
        );
        let expected = Stored::Alone {
            offset: 4096,
            len: 50,
            compressed: true,
            crc: Some(0xdead_beef),
        };
        assert_eq!(info.stored, expected);
        assert_eq!(info.encode_v2(0)[..], record(0x19, 0xdead_beef));
        for (flags, zran) in [(0x4, false), (0x3, true)] {
            let info = ChunkInfo::parse_v2(&record(flags, 3 << 32 | 17)).unwrap();
            let expected = Stored::Shared {
                context: 3,
                at: 4096,
                offset: 17,
                zran,
            };
            assert_eq!(info.stored, expected);
            let zran_flags = if zran { 0x3 } else { 0x4 };
            assert_eq!(info.encode_v2(50)[..], record(zran_flags, 3 << 32 | 17));
        }
        for flags in [0x6, 0x14, 0x12, 0x20, 0x80] {
            assert!(
                ChunkInfo::parse_v2(&record(flags, 0)).is_err(),
                "{flags:#x}"
            );
        }
    }
}
