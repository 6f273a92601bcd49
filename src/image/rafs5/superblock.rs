//! The superblock: 8192 bytes, of which the first 80 say something.

use crate::chunk::{CHUNK_SIZE_RANGE, Compressor, DigestAlgorithm};
use crate::image::field::{BadField, check_places};
use crate::image::rafs::{u32_at, u64_at};

/// Bytes of the superblock.
pub const LEN: u64 = 8192;

/// Bytes that [`SuperBlock::parse`] looks at.
pub const HEAD: usize = 80;

/// Longest bootstrap, in bytes.
pub const BOOTSTRAP_MAX: u64 = 1 << 31;

/// Bytes of an entry of the extended blob table.
pub const EXTENDED_ENTRY: u64 = 64;

const MAGIC: u32 = 0x5241_4653;
const VERSION: u32 = 0x500;

const EXPLICIT_OWNER: u64 = 0x10;
const ENCRYPTION_NONE: u64 = 0x0100_0000;
/// Compressors, digests, owners, xattrs, no encryption, and the bits that
/// readers are told to pass over.
const KNOWN_FLAGS: u64 = 0xff | ENCRYPTION_NONE | 0xfc00_0000;

/// A table: where it starts, and how many bytes it takes.
pub type Table = (u64, u64);

/// What the superblock says, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SuperBlock {
    /// Chunk size in bytes.
    pub chunk_size: u32,
    /// Compressor of the image.
    pub compressor: Compressor,
    /// Algorithm of chunk and inode digests.
    pub algorithm: DigestAlgorithm,
    /// Whether owners are kept (else all belongs to the daemon's user).
    pub explicit_owner: bool,
    /// Inodes that the image says it has; hard links count once.
    pub inodes: u64,
    /// Inode table: a u32 for each name.
    pub inode_table: Table,
    /// Prefetch table: a u32 for each entry.
    pub prefetch_table: Table,
    /// Blob table.
    pub blob_table: Table,
    /// Extended blob table; empty in old images.
    pub extended_table: Table,
}

/// Where the magic number of RAFS v6 ends, which is further back.
pub const MAGIC_END: usize = 1028;

/// Whether a file that begins with `bytes` is a bootstrap of RAFS v5 or v6.
pub fn is_rafs(bytes: &[u8]) -> bool {
    is_v5(bytes) || u32_at(bytes, 1024) == 0xe0f5_e1e2
}

/// Whether a bootstrap that begins with `bytes` is RAFS v5.
pub fn is_v5(bytes: &[u8]) -> bool {
    u32_at(bytes, 0) == MAGIC && u32_at(bytes, 4) == VERSION
}

impl SuperBlock {
    /// Parses the first [`HEAD`] bytes of a bootstrap of `len` bytes.
    ///
    /// # Errors
    /// Names the field that does not fit.
    pub fn parse(bytes: &[u8], len: u64) -> Result<Self, BadField> {
        let bad = |field, at, why: String| Err(BadField::new(field, at, why));
        if !is_v5(bytes) {
            return bad("Magic and version", 0, "not those of RAFS v5".into());
        }
        if len < LEN || !len.is_multiple_of(8) || len > BOOTSTRAP_MAX {
            let why = format!("{len} bytes, not 8 KiB to 2 GiB in steps of 8");
            return bad("Length of the bootstrap", 0, why);
        }
        let own = u32_at(bytes, 8);
        if u64::from(own) != LEN {
            return bad("Superblock size", 8, format!("{own}, not {LEN}"));
        }
        let chunk_size = u32_at(bytes, 12);
        if !chunk_size.is_power_of_two() || !CHUNK_SIZE_RANGE.contains(&chunk_size) {
            return bad("Chunk size", 12, format!("{chunk_size}"));
        }
        let flags = u64_at(bytes, 16);
        if flags & !KNOWN_FLAGS != 0 {
            let unknown = flags & !KNOWN_FLAGS;
            return bad("Flags", 16, format!("unknown bits {unknown:#x}"));
        }
        let inodes = u64_at(bytes, 24);
        let entries = u32_at(bytes, 56);
        if entries == 0 || inodes > u64::from(entries) {
            let why = format!("{entries} for {inodes} inodes");
            return bad("Inode table entries", 56, why);
        }
        let superblock = Self {
            chunk_size,
            compressor: compressor(flags),
            algorithm: algorithm(flags),
            explicit_owner: flags & EXPLICIT_OWNER != 0,
            inodes,
            inode_table: (u64_at(bytes, 32), u64::from(entries) * 4),
            prefetch_table: (u64_at(bytes, 40), u64::from(u32_at(bytes, 60)) * 4),
            blob_table: (u64_at(bytes, 48), u64::from(u32_at(bytes, 64))),
            extended_table: (
                u64_at(bytes, 72),
                u64::from(u32_at(bytes, 68)) * EXTENDED_ENTRY,
            ),
        };
        superblock.check_tables(len)?;
        Ok(superblock)
    }

    /// Refuses tables that are outside the file, or one in another.
    fn check_tables(&self, len: u64) -> Result<(), BadField> {
        let places = vec![
            ("Inode table offset", 32, self.inode_table),
            ("Prefetch table offset", 40, self.prefetch_table),
            ("Blob table offset", 48, self.blob_table),
            ("Extended blob table offset", 72, self.extended_table),
        ];
        for (field, at, (start, bytes)) in &places {
            if *bytes != 0 && !start.is_multiple_of(8) {
                let why = format!("{start} is no multiple of 8");
                return Err(BadField::new(field, *at, why));
            }
        }
        check_places(places, LEN, len)
    }
}

/// Several bits may be set: the first of this order counts.
fn compressor(flags: u64) -> Compressor {
    match flags {
        flags if flags & 0x1 != 0 => Compressor::None,
        flags if flags & 0x2 != 0 => Compressor::Lz4,
        flags if flags & 0x40 != 0 => Compressor::Gzip,
        flags if flags & 0x80 != 0 => Compressor::Zstd,
        _ => Compressor::Lz4,
    }
}

fn algorithm(flags: u64) -> DigestAlgorithm {
    match flags {
        flags if flags & 0x4 != 0 => DigestAlgorithm::Blake3,
        flags if flags & 0x8 != 0 => DigestAlgorithm::Sha256,
        _ => DigestAlgorithm::Blake3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::rafs::put;

    fn example() -> Vec<u8> {
        let mut head = vec![0; HEAD];
        for (at, value) in [
            (0, MAGIC),
            (4, VERSION),
            (8, 8192),
            (12, 1 << 20),
            (16, 0x36),
            (24, 2),
            (32, 8192),
            (40, 8200),
            (48, 8200),
            (56, 2),
            (64, 72),
            (68, 1),
            (72, 8272),
        ] {
            put(&mut head, at, &value.to_le_bytes());
        }
        head
    }

    #[test]
    fn a_superblock_is_understood() {
        let superblock = SuperBlock::parse(&example(), 1 << 16).unwrap();
        assert_eq!(superblock.compressor, Compressor::Lz4);
        assert_eq!(superblock.algorithm, DigestAlgorithm::Blake3);
        assert!(superblock.explicit_owner);
        assert_eq!(superblock.inode_table, (8192, 8));
        assert_eq!(superblock.extended_table, (8272, 64));
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_offset() {
        let cases: [(usize, u32, &str); 11] = [
            (8, 4096, "Superblock size at offset 0x8"),
            (12, 0, "Chunk size at offset 0xc"),
            (12, 1 << 25, "Chunk size at offset 0xc"),
            (16, 0x236, "Flags at offset 0x10"),
            (24, 3, "Inode table entries at offset 0x38"),
            (56, 0, "Inode table entries at offset 0x38"),
            (56, u32::MAX, "Inode table offset at offset 0x20"),
            (32, 8196, "Inode table offset at offset 0x20"),
            (48, 8192, "Blob table offset at offset 0x30"),
            (60, u32::MAX, "Prefetch table offset at offset 0x28"),
            (72, 1 << 17, "Extended blob table offset at offset 0x48"),
        ];
        for (at, value, wanted) in cases {
            let mut head = example();
            put(&mut head, at, &value.to_le_bytes());
            let bad = SuperBlock::parse(&head, 1 << 16).unwrap_err().to_string();
            assert!(bad.starts_with(wanted), "{at}: {bad}");
        }
        assert!(SuperBlock::parse(&example(), 8190).is_err());
        assert!(SuperBlock::parse(&[], 1 << 16).is_err());
    }
}
