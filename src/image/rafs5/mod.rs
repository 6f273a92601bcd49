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

/// A field that does not fit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} at offset {at:#x}: {why}")]
pub struct BadField {
    /// Name of the field.
    pub field: &'static str,
    /// Where it is in the bootstrap, in bytes.
    pub at: u64,
    /// What is wrong with it.
    pub why: String,
}

impl BadField {
    /// The field called `field` at offset `at` is wrong as `why` says.
    pub fn new(field: &'static str, at: u64, why: impl Into<String>) -> Self {
        Self {
            field,
            at,
            why: why.into(),
        }
    }
}

/// `len` rounded up to a multiple of 8.
pub(crate) fn padded(len: usize) -> usize {
    len.saturating_add(7) & !7
}
