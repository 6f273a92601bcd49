//! EROFS superblock at byte 1024 and RAFS's extended superblock at 1152.

use super::{BLOCK_LEN, put, u16_at, u32_at, u64_at};
use crate::chunk::{CHUNK_SIZE_RANGE, Compressor, DigestAlgorithm};
use crate::image::field::{BadField, check_places};

/// Bytes of the superblock area that [`SuperBlock::parse`] looks at.
pub const AREA: usize = BLOCK_LEN;

/// Offset of the device slots: the EROFS device table.
pub const DEVICE_SLOTS: usize = 1408;

/// Bytes of a device slot.
pub const DEVICE_SLOT: usize = 128;

/// Most blobs of an image: the blob field of a chunk index has 8 bits, and 0
/// stands for the bootstrap.
pub const BLOBS_MAX: u16 = 255;

/// Blocks of 4096 bytes.
pub const BLOCK_BITS: u8 = 12;

/// Blocks of 512 bytes, those of tar.
pub const TAR_BLOCK_BITS: u8 = 9;

const MAGIC: u32 = 0xe0f5_e1e2;
const COMPAT_RAFS_V6: u32 = 0x4000_0000;
const INCOMPAT: u32 = 0xc;
const EXPLICIT_OWNER: u64 = 0x10;
const HAS_XATTR: u64 = 0x20;
const ENCRYPTION_NONE: u64 = 0x0100_0000;
const INLINED_DIGESTS: u64 = 0x100;
const TARFS: u64 = 0x200;
const KNOWN_FLAGS: u64 = 0xffff_ffff & !0xfc00 & !0x00ff_0000;

/// What both superblocks say, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SuperBlock {
    /// Logarithm of the block size: [`BLOCK_BITS`] or [`TAR_BLOCK_BITS`].
    pub block_bits: u8,
    /// Node number of the root directory.
    pub root_nid: u64,
    /// Inodes that the image says it has.
    pub inodes: u64,
    /// Data blocks of all devices.
    pub blocks: u32,
    /// Block that node number 0 would start at.
    pub meta_block: u32,
    /// Number of blobs.
    pub blobs: u16,
    /// Chunk size in bytes.
    pub chunk_size: u32,
    /// Compressor of the image.
    pub compressor: Compressor,
    /// Algorithm of chunk digests.
    pub algorithm: DigestAlgorithm,
    /// Whether owners are kept (else all belongs to the daemon's user).
    pub explicit_owner: bool,
    /// Whether some inode has xattrs.
    pub has_xattr: bool,
    /// Whether every blob has an array of its chunks' digests.
    pub inlined_digests: bool,
    /// Blob table: offset and length in bytes.
    pub blob_table: (u64, u32),
    /// Chunk table: offset and length in bytes.
    pub chunk_table: (u64, u64),
    /// Prefetch table: offset and length in bytes.
    pub prefetch_table: (u64, u32),
}

impl SuperBlock {
    /// Block size in bytes.
    pub fn block(&self) -> u64 {
        1 << self.block_bits.min(BLOCK_BITS)
    }

    /// Whether chunks are parts of tar archives, without digests.
    pub fn is_tarfs(&self) -> bool {
        self.block_bits == TAR_BLOCK_BITS
    }

    /// Parses the first [`AREA`] bytes of a bootstrap.
    ///
    /// # Errors
    /// Says which field does not fit.
    pub fn parse(area: &[u8]) -> Result<Self, String> {
        if area.len() < AREA {
            return Err(format!("{} bytes are no superblock", area.len()));
        }
        let sb = &area[1024..1152];
        let ext = &area[1152..DEVICE_SLOTS];
        expect("magic", u32_at(sb, 0), MAGIC)?;
        expect("checksum", u32_at(sb, 4), 0)?;
        if u32_at(sb, 8) & COMPAT_RAFS_V6 == 0 {
            return Err("the RAFS v6 feature bit is not set (a plain EROFS image?)".into());
        }
        let block_bits = sb[12];
        let is_tarfs = u64_at(ext, 0) & TARFS != 0;
        let wanted = if is_tarfs { TAR_BLOCK_BITS } else { BLOCK_BITS };
        expect("block size bits", block_bits.into(), wanted.into())?;
        expect("shared xattr block", u32_at(sb, 44), 0)?;
        expect("incompatible features", u32_at(sb, 80), INCOMPAT)?;
        expect("device table slot", u32::from(u16_at(sb, 88)), 11)?;
        let blobs = u16_at(sb, 86);
        if blobs > BLOBS_MAX {
            return Err(format!("{blobs} blobs, at most {BLOBS_MAX} are possible"));
        }

        let flags = u64_at(ext, 0);
        if flags & !KNOWN_FLAGS != 0 {
            return Err(format!("unknown flags {:#x}", flags & !KNOWN_FLAGS));
        }
        let chunk_size = u32_at(ext, 20);
        if !chunk_size.is_power_of_two() || !CHUNK_SIZE_RANGE.contains(&chunk_size) {
            return Err(format!("chunk size {chunk_size}"));
        }
        Ok(Self {
            block_bits,
            root_nid: u64::from(u16_at(sb, 14)),
            inodes: u64_at(sb, 16),
            blocks: u32_at(sb, 36),
            meta_block: u32_at(sb, 40),
            blobs,
            chunk_size,
            compressor: compressor(flags)?,
            algorithm: algorithm(flags)?,
            explicit_owner: flags & EXPLICIT_OWNER != 0,
            has_xattr: flags & HAS_XATTR != 0,
            inlined_digests: flags & INLINED_DIGESTS != 0,
            blob_table: (u64_at(ext, 8), u32_at(ext, 16)),
            chunk_table: (u64_at(ext, 24), u64_at(ext, 32)),
            prefetch_table: (u64_at(ext, 40), u32_at(ext, 48)),
        })
    }

    /// Refuses tables that are outside the file, or one in another.
    ///
    /// # Errors
    /// Names the field that does not fit.
    pub fn check_tables(&self, len: u64) -> Result<(), BadField> {
        let slots = DEVICE_SLOTS + usize::from(self.blobs) * DEVICE_SLOT;
        let (blobs, prefetch) = (self.blob_table, self.prefetch_table);
        let places = vec![
            ("Blob table offset", 1160, (blobs.0, blobs.1.into())),
            ("Chunk table offset", 1176, self.chunk_table),
            (
                "Prefetch table offset",
                1192,
                (prefetch.0, prefetch.1.into()),
            ),
        ];
        check_places(places, slots as u64, len)
    }

    /// Writes both superblocks into `area`, the first [`AREA`] bytes of a
    /// bootstrap, which must be zeros.
    pub fn encode(&self, area: &mut [u8]) {
        let Some(sb) = area.get_mut(1024..DEVICE_SLOTS) else {
            return;
        };
        put(sb, 0, &MAGIC.to_le_bytes());
        put(sb, 8, &COMPAT_RAFS_V6.to_le_bytes());
        put(sb, 12, &[self.block_bits]);
        put(
            sb,
            14,
            &u16::try_from(self.root_nid).unwrap_or(0).to_le_bytes(),
        );
        put(sb, 16, &self.inodes.to_le_bytes());
        put(sb, 36, &self.blocks.to_le_bytes());
        put(sb, 40, &self.meta_block.to_le_bytes());
        put(sb, 80, &INCOMPAT.to_le_bytes());
        put(sb, 86, &self.blobs.to_le_bytes());
        put(sb, 88, &11u16.to_le_bytes());

        let mut flags = ENCRYPTION_NONE;
        flags |= match self.compressor {
            Compressor::None => 0x1,
            Compressor::Lz4 => 0x2,
            Compressor::Gzip => 0x40,
            Compressor::Zstd => 0x80,
        };
        flags |= match self.algorithm {
            DigestAlgorithm::Blake3 => 0x4,
            DigestAlgorithm::Sha256 => 0x8,
        };
        flags |= if self.explicit_owner {
            EXPLICIT_OWNER
        } else {
            0
        };
        flags |= if self.has_xattr { HAS_XATTR } else { 0 };
        flags |= if self.inlined_digests {
            INLINED_DIGESTS
        } else {
            0
        };
        let ext = &mut sb[128..];
        put(ext, 0, &flags.to_le_bytes());
        put(ext, 8, &self.blob_table.0.to_le_bytes());
        put(ext, 16, &self.blob_table.1.to_le_bytes());
        put(ext, 20, &self.chunk_size.to_le_bytes());
        put(ext, 24, &self.chunk_table.0.to_le_bytes());
        put(ext, 32, &self.chunk_table.1.to_le_bytes());
        put(ext, 40, &self.prefetch_table.0.to_le_bytes());
        put(ext, 48, &self.prefetch_table.1.to_le_bytes());
    }
}

/// Encodes the device slot of a blob.
pub fn device_slot(id: &str, blocks: u32, mapped_block: u32) -> [u8; DEVICE_SLOT] {
    let mut slot = [0; DEVICE_SLOT];
    put(&mut slot, 0, id.as_bytes());
    put(&mut slot, 64, &blocks.to_le_bytes());
    put(&mut slot, 68, &mapped_block.to_le_bytes());
    slot
}

fn expect(what: &str, found: u32, wanted: u32) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what} is {found:#x}, not {wanted:#x}"))
}

fn compressor(flags: u64) -> Result<Compressor, String> {
    match flags & 0xc3 {
        0x1 => Ok(Compressor::None),
        0x2 => Ok(Compressor::Lz4),
        0x40 => Ok(Compressor::Gzip),
        0x80 => Ok(Compressor::Zstd),
        bits => Err(format!("compressor flags {bits:#x}")),
    }
}

fn algorithm(flags: u64) -> Result<DigestAlgorithm, String> {
    match flags & 0xc {
        0x4 => Ok(DigestAlgorithm::Blake3),
        0x8 => Ok(DigestAlgorithm::Sha256),
        bits => Err(format!("digest flags {bits:#x}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> SuperBlock {
        SuperBlock {
            block_bits: BLOCK_BITS,
            root_nid: 128,
            inodes: 3,
            blocks: 7,
            meta_block: 2,
            blobs: 1,
            chunk_size: 1 << 20,
            compressor: Compressor::Zstd,
            algorithm: DigestAlgorithm::Sha256,
            explicit_owner: true,
            has_xattr: true,
            inlined_digests: true,
            blob_table: (4096, 256),
            chunk_table: (16384, 80),
            prefetch_table: (0, 0),
        }
    }

    #[test]
    fn what_is_encoded_is_parsed() {
        let mut area = vec![0; AREA];
        example().encode(&mut area);
        assert_eq!(SuperBlock::parse(&area), Ok(example()));
    }

    #[test]
    fn foreign_features_are_refused_by_name() {
        let mut area = vec![0; AREA];
        example().encode(&mut area);
        area[1024 + 80] = 0x1c;
        let reason = SuperBlock::parse(&area).unwrap_err();
        assert!(reason.contains("incompatible features"), "{reason}");
    }
}
