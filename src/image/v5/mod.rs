//! RAFS v5 images: what nodes, directories and files are loaded and proved
//! from.
//!
//! * [`mod@open`] reads superblock, tables and, once through, all inode records,
//!   for the places of the chunks ([`slots`]).
//! * [`node`], [`directory`] and [`mod@file`] load what is asked for and prove it
//!   against the digest that the directory above gives for it.
//! * [`window`] reads neighbouring records in one go.
//!
//! The digests cover the content of files and links and which nodes a directory
//! has in which order; not names, types, attributes and xattrs. Nothing outside
//! the image vouches for the root's. May use: `chunk`, the words and parsers of
//! `image`. Used by: `image`.

pub(crate) mod directory;
pub(crate) mod file;
pub(crate) mod hasher;
pub(crate) mod node;
pub(crate) mod open;
pub(crate) mod slots;
pub(crate) mod window;

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::chunk::Digest;
use crate::image::bootstrap::Bootstrap;
use crate::image::error::ImageError;
use crate::image::field::BadField;
use crate::image::group::{Group, GroupKey};
use crate::image::metadata::GroupWeight;
use crate::image::rafs5::superblock::SuperBlock;
use crate::image::v5::slots::Slots;

/// Position of the root in the inode table, from 1.
pub(crate) const ROOT: u64 = 1;

/// The metadata of an open RAFS v5 image.
#[derive(Debug)]
pub(crate) struct V5 {
    pub(crate) bootstrap: Bootstrap,
    pub(crate) superblock: SuperBlock,
    /// Offsets of the inode records in units of 8 bytes.
    table: Box<[u32]>,
    pub(crate) slots: Slots,
    /// Digest of the root's record.
    pub(crate) root_digest: Digest,
    /// Groups of entries, each under the hash that it was proved with.
    groups: Cache<GroupKey, Arc<Group>, GroupWeight>,
}

impl V5 {
    /// The error for a field that does not fit.
    fn bad(&self, field: &BadField) -> ImageError {
        self.bootstrap.damaged(field.to_string())
    }

    /// Offset of the record of inode `index`.
    fn record_at(&self, index: u64) -> Result<u64, ImageError> {
        let slot = index
            .checked_sub(1)
            .and_then(|slot| usize::try_from(slot).ok())
            .and_then(|slot| self.table.get(slot));
        slot.map(|&slot| u64::from(slot) * 8).ok_or_else(|| {
            let entries = self.table.len();
            self.bootstrap
                .damaged(format!("inode {index} of {entries}"))
        })
    }
}
