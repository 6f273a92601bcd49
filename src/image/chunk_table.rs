//! A whole chunk table at once, for builds that use an image as chunk dict.

use std::path::Path;

use crate::chunk::{Chunk, Packing};
use crate::image::blob_table;
use crate::image::bootstrap::Bootstrap;
use crate::image::error::ImageError;
use crate::image::layout;
use crate::image::rafs::blob::BlobEntry;
use crate::image::rafs::superblock::{self, SuperBlock};
use crate::image::tables;

/// The chunks of an image by blob.
#[derive(Debug)]
pub struct ChunkTable {
    /// The image's superblocks.
    pub superblock: SuperBlock,
    /// The blobs with their chunk records in index order. Blobs of which the
    /// image does not list every chunk are left out, and those that are packed
    /// in a way that a build does not write.
    pub blobs: Vec<(BlobEntry, Vec<Chunk>)>,
}

/// Reads the chunk table of the bootstrap at `path`. Nothing is proved: a chunk
/// is used for a digest that the builder computed, and proved when it is
/// served.
///
/// # Errors
/// When the bootstrap cannot be read or breaks the format.
pub fn read(path: &Path) -> Result<ChunkTable, ImageError> {
    let bootstrap = Bootstrap::open(path)?;
    let not_a_bootstrap = |reason| ImageError::NotABootstrap {
        path: path.to_owned(),
        reason,
    };
    let area = bootstrap.read(0, superblock::AREA)?;
    let superblock = SuperBlock::parse(&area).map_err(not_a_bootstrap)?;
    let entries = blob_table::read_blob_table(&bootstrap, &superblock)?;
    let (chunks, _) = layout::load_all(&bootstrap, superblock.chunk_table, &entries)?;
    let mut blobs = Vec::new();
    for (entry, position) in entries.into_iter().zip(0u16..) {
        let start = chunks.partition_point(|chunk| chunk.blob < position);
        let end = chunks.partition_point(|chunk| chunk.blob <= position);
        let own = chunks.get(start..end).unwrap_or_default();
        let complete = own.len() == entry.chunks as usize
            && own
                .iter()
                .zip(0u32..)
                .all(|(chunk, index)| chunk.index == index);
        let plain = tables::packing(&entry).is_ok_and(|it| it == Packing::default());
        if complete && plain {
            blobs.push((entry, own.to_vec()));
        } else {
            log::info!(
                "{}: blob {} is not listed whole, or not a plain one; not used",
                path.display(),
                entry.id
            );
        }
    }
    Ok(ChunkTable { superblock, blobs })
}
