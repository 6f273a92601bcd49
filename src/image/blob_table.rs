//! The blob table of a bootstrap.

use crate::image::bootstrap::Bootstrap;
use crate::image::error::ImageError;
use crate::image::rafs::blob::{self, BlobEntry};
use crate::image::rafs::superblock::SuperBlock;

/// Most chunks of a blob: a chunk index has 24 bits.
const CHUNKS_MAX: u32 = 1 << 24;

/// Features of blobs that this version cannot read.
const UNSUPPORTED: u32 = blob::INFO_V2
    | blob::ZRAN
    | blob::SEPARATE
    | blob::TARFS
    | blob::BATCH
    | blob::ENCRYPTED
    | blob::EXTERNAL;

/// Reads and checks the blob table.
pub(crate) fn read_blob_table(
    bootstrap: &Bootstrap,
    superblock: &SuperBlock,
) -> Result<Vec<BlobEntry>, ImageError> {
    let (offset, len) = superblock.blob_table;
    let len = len as usize;
    if len != usize::from(superblock.blobs) * blob::ENTRY {
        let blobs = superblock.blobs;
        return Err(bootstrap.damaged(format!("a blob table of {len} bytes for {blobs} blobs")));
    }
    let table = bootstrap.read(offset, len)?;
    let mut entries = Vec::new();
    for (bytes, position) in table.chunks_exact(blob::ENTRY).zip(0u32..) {
        let entry = BlobEntry::parse(bytes)
            .map_err(|reason| bootstrap.damaged(format!("{reason} in blob entry {position}")))?;
        let fail = |what: String| Err(bootstrap.damaged(format!("{what} of blob {}", entry.id)));
        if entry.index != position || entry.chunk_size != superblock.chunk_size {
            return fail(format!(
                "index {} or chunk size {}",
                entry.index, entry.chunk_size
            ));
        }
        if entry.algorithm != superblock.algorithm {
            return fail(format!("digest algorithm {:?}", entry.algorithm));
        }
        if entry.chunks > CHUNKS_MAX {
            return fail(format!("{} chunks", entry.chunks));
        }
        if entry.features & UNSUPPORTED != 0 || entry.features & blob::ALIGNED == 0 {
            return fail(format!("features {:#x} (not supported)", entry.features));
        }
        entries.push(entry);
    }
    Ok(entries)
}
