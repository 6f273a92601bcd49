//! RAFS v6 on disk: an EROFS image with tables of its own. Parsers and encoders
//! over bytes, without I/O.
//!
//! Sources: the EROFS on-disk format of Linux (`fs/erofs/erofs_fs.h`) and the
//! bytes of images made by `nydus-image`.

pub mod blob;
pub mod blob_meta;
pub mod chunk_index;
pub mod chunk_info;
pub mod context;
pub mod dirent;
pub mod inode;
pub mod record;
pub mod superblock;
pub mod toc;
pub mod xattr;

/// EROFS block size that we write and read, in bytes.
pub const BLOCK: u64 = 4096;

/// [`BLOCK`] as an index.
pub const BLOCK_LEN: usize = 4096;

/// Unit of node numbers: inode `nid` is at `meta + nid * SLOT`.
pub const SLOT: u64 = 32;

/// `N` bytes at `at`, zeros where `bytes` is too short. The parsers check the
/// length of a record once and take its fields with this.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(from) = bytes.get(at..at + N) {
        out.copy_from_slice(from);
    }
    out
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// Writes `value` at `at` of a record that is long enough.
pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at + value.len()) {
        to.copy_from_slice(value);
    }
}
