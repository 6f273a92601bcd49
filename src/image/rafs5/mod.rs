//! RAFS v5 on disk: a superblock, tables and inode records. Parsers over
//! bytes, without I/O.
//!
//! Source: the bytes of images made by `nydus-image` 2.2 and 2.4. All numbers
//! are little-endian, all structures start at multiples of 8.

pub mod blob;
pub mod chunk;
pub mod inode;
pub mod superblock;
pub mod xattr;

/// `len` rounded up to a multiple of 8.
pub(crate) fn padded(len: usize) -> usize {
    len.saturating_add(7) & !7
}
