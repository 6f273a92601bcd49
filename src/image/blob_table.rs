//! The blob table of a bootstrap.

use crate::chunk::{Digest, Form};
use crate::image::bootstrap::Bootstrap;
use crate::image::error::ImageError;
use crate::image::rafs::blob::{self, BlobEntry};
use crate::image::rafs::superblock::SuperBlock;
use crate::image::tables;

/// Most chunks of a blob: a chunk index has 24 bits.
const CHUNKS_MAX: u32 = 1 << 24;

/// Longest tar archive that is served without an index: there is one bit in
/// memory for each of its blocks.
const TAR_MAX: u64 = 64 << 30;

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
        let mut entry = BlobEntry::parse(bytes)
            .map_err(|reason| bootstrap.damaged(format!("{reason} in blob entry {position}")))?;
        name(&mut entry, bootstrap)?;
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
        if entry.features & (blob::EXTERNAL | blob::UNKNOWN) != 0 {
            return fail(format!("features {:#x} (not supported)", entry.features));
        }
        if entry.features & (blob::ALIGNED | blob::TARFS) == 0 {
            return fail(format!(
                "features {:#x} (chunks not aligned)",
                entry.features
            ));
        }
        match tables::packing(&entry) {
            Ok(packing) if (packing.form == Form::Tar) == superblock.is_tarfs() => {}
            Ok(_) => {
                return fail(format!(
                    "features {:#x} with blocks of {} bytes",
                    entry.features,
                    superblock.block()
                ));
            }
            Err(reason) => return fail(reason),
        }
        if superblock.is_tarfs() && entry.stored_size > TAR_MAX {
            return fail(format!(
                "an archive of {} bytes, at most {TAR_MAX} are read",
                entry.stored_size
            ));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Gives a blob that holds its own bootstrap its name, which nobody knew when it
/// was written: that of the bootstrap's file.
fn name(entry: &mut BlobEntry, bootstrap: &Bootstrap) -> Result<(), ImageError> {
    let own = entry.features & blob::INLINED_META != 0
        && (entry.features & blob::SEPARATE == 0 || entry.features & blob::CAP_TAR_TOC == 0);
    let stem = bootstrap.path().file_stem().and_then(|stem| stem.to_str());
    let stem = stem.and_then(Digest::parse);
    match stem {
        Some(stem) if own => entry.id = stem.to_string(),
        _ if entry.is_unnamed() => {
            return Err(bootstrap.damaged(format!(
                "blob {} has no name in its own bootstrap: give --bootstrap a file that has the blob's \
                 name (64 hexadecimal digits), such as the blob itself",
                entry.index
            )));
        }
        _ => {}
    }
    // So with the other blob that holds the tables of an original archive.
    if let (Some(stem), Some((meta, _))) = (stem, &mut entry.meta)
        && entry.features & blob::INLINED_META != 0
    {
        *meta = stem;
    }
    Ok(())
}
