//! The integrity section on disk: what stands behind the tables of a RAFS v6
//! bootstrap so that every node can be proved (`docs/format.md`).
//!
//! Offsets inside the section are counted from its start; 0 means "none",
//! which is why it begins with a header that nothing points to.

use crate::chunk::Digest;
use crate::image::hints::HintPlaces;
use crate::image::proof::ListHead;
use crate::image::rafs::{field, put, u32_at, u64_at};

/// Bytes at the start of the section.
pub const HEADER: usize = 16;

/// Bytes of the trailer, the last of the bootstrap.
pub const TRAILER: usize = 128;

/// [`TRAILER`], as the trailer says it.
const TRAILER_32: u32 = 128;

/// First bytes of header and trailer.
pub const MAGIC: [u8; 8] = *b"TIDEGATE";

/// Must-understand feature bits that this program knows.
pub const KNOWN_BITS: u64 = 0;

const _: () = assert!(TRAILER_32 as usize == TRAILER);

/// The trailer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trailer {
    /// Version of the section.
    pub version: u32,
    /// Features that a reader must know.
    pub must_understand: u64,
    /// Features that a reader may ignore.
    pub may_ignore: u64,
    /// Offset of the section in the bootstrap.
    pub offset: u64,
    /// Length of the section without the trailer.
    pub len: u64,
    /// Offset of the root directory's record in the section.
    pub root_record: u64,
    /// Digest of the root node.
    pub root_node: Digest,
    /// Offset of the blob records in the section.
    pub blob_records: u64,
    /// Where the hints are in the section, as the may-ignore bits tell.
    pub hints: HintPlaces,
}

impl Trailer {
    /// Parses the last [`TRAILER`] bytes of a bootstrap; none if they are no
    /// trailer.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != TRAILER || field::<8>(bytes, 0) != MAGIC {
            return None;
        }
        if u32_at(bytes, 12) != TRAILER_32 {
            return None;
        }
        let may_ignore = u64_at(bytes, 24);
        let hints = HintPlaces {
            trace: u64_at(bytes, 96),
            used: u64_at(bytes, 104),
        };
        Some(Self {
            version: u32_at(bytes, 8),
            must_understand: u64_at(bytes, 16),
            may_ignore,
            offset: u64_at(bytes, 32),
            len: u64_at(bytes, 40),
            root_record: u64_at(bytes, 48),
            root_node: Digest(field(bytes, 56)),
            blob_records: u64_at(bytes, 88),
            hints: hints.masked(may_ignore),
        })
    }

    /// Encodes the trailer.
    pub fn encode(&self) -> [u8; TRAILER] {
        let mut bytes = [0; TRAILER];
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &self.version.to_le_bytes());
        put(&mut bytes, 12, &TRAILER_32.to_le_bytes());
        put(&mut bytes, 16, &self.must_understand.to_le_bytes());
        put(&mut bytes, 24, &self.may_ignore.to_le_bytes());
        put(&mut bytes, 32, &self.offset.to_le_bytes());
        put(&mut bytes, 40, &self.len.to_le_bytes());
        put(&mut bytes, 48, &self.root_record.to_le_bytes());
        put(&mut bytes, 56, &self.root_node.0);
        put(&mut bytes, 88, &self.blob_records.to_le_bytes());
        put(&mut bytes, 96, &self.hints.trace.to_le_bytes());
        put(&mut bytes, 104, &self.hints.used.to_le_bytes());
        bytes
    }
}

/// The section's header: magic, version, four zero bytes.
pub fn header(version: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    put(&mut bytes, 0, &MAGIC);
    put(&mut bytes, 8, &version.to_le_bytes());
    bytes
}

/// What the section says of a blob's chunk records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobRecord {
    /// Digest of the list of chunk records.
    pub layout: Digest,
    /// Offset of the list's levels in the section.
    pub levels: u64,
    /// Position of the blob's first record in the chunk table.
    pub first: u64,
}

impl BlobRecord {
    /// Bytes of a record.
    pub const LEN: usize = 48;

    /// Parses a record of [`Self::LEN`] bytes.
    pub fn parse(bytes: &[u8]) -> Self {
        Self {
            layout: Digest(field(bytes, 0)),
            levels: u64_at(bytes, 32),
            first: u64_at(bytes, 40),
        }
    }

    /// Encodes the record.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        put(&mut bytes, 0, &self.layout.0);
        put(&mut bytes, 32, &self.levels.to_le_bytes());
        put(&mut bytes, 40, &self.first.to_le_bytes());
        bytes
    }
}

/// Head of a directory's record; its child records follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DirectoryRecord {
    /// Head of the entry list.
    pub head: ListHead,
    /// Offset of the list's levels in the section.
    pub levels: u64,
    /// Offset of the block index in the section: for each directory block, how
    /// many entries are in the blocks before it (u32). 0 for a single block.
    pub block_index: u64,
}

impl DirectoryRecord {
    /// Bytes of the head.
    pub const LEN: usize = 40;

    /// Parses a head of [`Self::LEN`] bytes.
    pub fn parse(bytes: &[u8]) -> Self {
        let head = ListHead {
            count: u64_at(bytes, 0),
            directories: u64_at(bytes, 8),
            name_bytes: u64_at(bytes, 16),
        };
        Self {
            head,
            levels: u64_at(bytes, 24),
            block_index: u64_at(bytes, 32),
        }
    }

    /// Encodes the head.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        put(&mut bytes, 0, &self.head.count.to_le_bytes());
        put(&mut bytes, 8, &self.head.directories.to_le_bytes());
        put(&mut bytes, 16, &self.head.name_bytes.to_le_bytes());
        put(&mut bytes, 24, &self.levels.to_le_bytes());
        put(&mut bytes, 32, &self.block_index.to_le_bytes());
        bytes
    }
}

/// What the section says of a directory's child, in entry order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChildRecord {
    /// The child's node digest, or the digest of the canonical path.
    pub digest: Digest,
    /// Whether the entry is a later name of a hard link.
    pub link: bool,
    /// Offset in the section: of the child's own record (directories that are
    /// not empty: a [`DirectoryRecord`]; files of more than 128 chunks: the
    /// levels of the chunk list; else 0), or of the canonical path (u32 length
    /// and bytes).
    pub record: u64,
}

impl ChildRecord {
    /// Bytes of a record.
    pub const LEN: usize = 40;

    const LINK: u64 = 1 << 63;

    /// Parses a record of [`Self::LEN`] bytes.
    pub fn parse(bytes: &[u8]) -> Self {
        let word = u64_at(bytes, 32);
        Self {
            digest: Digest(field(bytes, 0)),
            link: word & Self::LINK != 0,
            record: word & !Self::LINK,
        }
    }

    /// Encodes the record.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let word = self.record | if self.link { Self::LINK } else { 0 };
        put(&mut bytes, 0, &self.digest.0);
        put(&mut bytes, 32, &word.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_parsed() {
        let trailer = Trailer {
            version: 1,
            must_understand: 2,
            may_ignore: 3,
            offset: 4096,
            len: 5,
            root_record: 6,
            root_node: Digest([7; 32]),
            blob_records: 8,
            hints: HintPlaces { trace: 9, used: 10 },
        };
        assert_eq!(Trailer::parse(&trailer.encode()), Some(trailer));
        assert_eq!(Trailer::parse(&[0; TRAILER]), None);
        let child = ChildRecord {
            digest: Digest([1; 32]),
            link: true,
            record: 99,
        };
        assert_eq!(ChildRecord::parse(&child.encode()), child);
        let blob = BlobRecord {
            layout: Digest([2; 32]),
            levels: 3,
            first: 4,
        };
        assert_eq!(BlobRecord::parse(&blob.encode()), blob);
        let head = ListHead {
            count: 1,
            directories: 2,
            name_bytes: 3,
        };
        let directory = DirectoryRecord {
            head,
            levels: 4,
            block_index: 5,
        };
        assert_eq!(DirectoryRecord::parse(&directory.encode()), directory);
    }
}
