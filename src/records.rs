//! How `store`, which fetches chunks, asks `image` about their neighbours.

use crate::chunk::Chunk;
use crate::extent::{Extents, StoredTables};

/// Where chunk records can be looked up by position, for fetching neighbours.
pub trait ChunkRecords: Send + Sync + 'static {
    /// The record of a chunk; none where there is none or it cannot be read or
    /// proved. May wait for the disk.
    fn record(&self, blob: u16, index: u32) -> Option<Chunk>;

    /// Whether a reader of the chunk before this one does not go on here, as
    /// far as the image tells: nothing is fetched ahead across this place. May
    /// wait for the disk.
    fn is_apart(&self, _blob: u16, _index: u32) -> bool {
        false
    }

    /// What the tables in a blob say of the extents that its chunks share,
    /// compared with the records. May wait for the disk.
    ///
    /// # Errors
    /// Says what is wrong with the tables.
    fn extents(&self, blob: u16, _stored: &StoredTables<'_>) -> Result<Extents, String> {
        Err(format!("nobody can read the tables of blob number {blob}"))
    }
}

/// No records: every chunk stands alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecords;

impl ChunkRecords for NoRecords {
    fn record(&self, _: u16, _: u32) -> Option<Chunk> {
        None
    }
}
