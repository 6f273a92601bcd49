//! Opens a RAFS v5 bootstrap.
//!
//! All inode records are read once, in the order of the file, for the chunks
//! that they name: readers of one chunk want to know its neighbours, and the
//! cache where each has its place. Nothing is proved then, and of a record that
//! does not fit only the chunks are missing.

use std::path::Path;

use crate::bounded_cache::bounded;
use crate::chunk::{BlobInfo, Packing, is_blob_name};
use crate::image::bootstrap::Bootstrap;
use crate::image::error::ImageError;
use crate::image::layout::layout_list;
use crate::image::metadata::{GROUP_BUDGET, GroupWeight};
use crate::image::model::FileType;
use crate::image::rafs::{BLOCK, u32_at};
use crate::image::rafs5::blob::{Extended, parse_ids};
use crate::image::rafs5::chunk::{self, ChunkRecord};
use crate::image::rafs5::inode::{self, Inode};
use crate::image::rafs5::superblock::{self, SuperBlock};
use crate::image::v5::slots::Collection;
use crate::image::v5::window::Window;
use crate::image::v5::{ROOT, V5};

/// Chunk records that are parsed at a time.
const STEP: usize = 1024;

/// Opens a bootstrap that begins as RAFS v5 does. Returns its metadata and its
/// blobs.
///
/// # Errors
/// When superblock, tables or root do not fit, or cannot be read.
pub(crate) fn open(bootstrap: Bootstrap) -> Result<(V5, Vec<BlobInfo>), ImageError> {
    let head = bootstrap.read(0, superblock::HEAD)?;
    let superblock = SuperBlock::parse(&head, bootstrap.len())
        .map_err(|bad| bootstrap.damaged(bad.to_string()))?;
    let table = read_table(&bootstrap, &superblock)?;
    let (ids, extended) = read_blobs(&bootstrap, &superblock)?;
    let slots = collect(&bootstrap, &superblock, &table, &extended, ids.len())?.place();

    let image_path = bootstrap.path();
    let mut blobs = Vec::with_capacity(ids.len());
    for (id, number) in ids.into_iter().zip(0u16..) {
        let chunks = slots.of(number);
        let end = chunks.last().map_or(0, |last| {
            (last.offset + u64::from(last.len)).next_multiple_of(BLOCK)
        });
        let known = extended.get(usize::from(number));
        let stored_end = |chunk: &crate::chunk::Chunk| {
            chunk
                .stored_offset
                .saturating_add(u64::from(chunk.stored_len))
        };
        blobs.push(BlobInfo {
            id: match known {
                // Its name was not known yet when it was written.
                Some(known) if known.is_inlined() => file_stem(image_path).unwrap_or(id),
                _ => id,
            },
            algorithm: superblock.algorithm,
            compressor: superblock.compressor,
            chunks: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
            uncompressed_size: end,
            stored_size: match known {
                Some(known) => known.stored_size,
                None => chunks.iter().map(stored_end).max().unwrap_or(0),
            },
            layout: layout_list(chunks).1,
            packing: Packing::default(),
        });
    }
    let mut image = V5 {
        bootstrap,
        superblock,
        table,
        slots,
        root_digest: crate::chunk::Digest::default(),
        groups: bounded(256, GROUP_BUDGET, GroupWeight),
    };
    let root = image.inode(&mut Window::new(&image.bootstrap), ROOT)?;
    if root.attr.file_type != FileType::Directory || root.number != ROOT {
        let reason = format!(
            "the root (inode record at offset {:#x}) is no directory",
            root.at
        );
        return Err(image.bootstrap.damaged(reason));
    }
    image.root_digest = root.digest;
    Ok((image, blobs))
}

/// The name of a file without its ending, if a blob can be called so.
fn file_stem(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    is_blob_name(stem.as_bytes()).then(|| stem.to_owned())
}

fn read_table(bootstrap: &Bootstrap, superblock: &SuperBlock) -> Result<Box<[u32]>, ImageError> {
    let (at, len) = superblock.inode_table;
    let bytes = bootstrap.read(at, usize::try_from(len).unwrap_or(usize::MAX))?;
    Ok(bytes.chunks_exact(4).map(|it| u32_at(it, 0)).collect())
}

fn read_blobs(
    bootstrap: &Bootstrap,
    superblock: &SuperBlock,
) -> Result<(Vec<String>, Vec<Extended>), ImageError> {
    let (at, len) = superblock.blob_table;
    let bytes = bootstrap.read(at, usize::try_from(len).unwrap_or(usize::MAX))?;
    let ids = parse_ids(&bytes, at).map_err(|bad| bootstrap.damaged(bad.to_string()))?;
    let (at, len) = superblock.extended_table;
    let bytes = bootstrap.read(at, usize::try_from(len).unwrap_or(usize::MAX))?;
    let extended = Extended::parse_all(&bytes);
    if !extended.is_empty() && extended.len() != ids.len() {
        let (found, wanted) = (extended.len(), ids.len());
        let reason = format!(
            "Entries of the extended blob table at offset {at:#x}: {found} for {wanted} blobs"
        );
        return Err(bootstrap.damaged(reason));
    }
    Ok((ids, extended))
}

/// Collects the chunks that inode records name. Records are read in the order
/// of the file and must not lie in each other: however often the table names a
/// record, each byte is looked at once.
fn collect(
    bootstrap: &Bootstrap,
    superblock: &SuperBlock,
    table: &[u32],
    extended: &[Extended],
    blobs: usize,
) -> Result<Collection, ImageError> {
    let mut order = table.to_vec();
    order.sort_unstable();
    order.dedup();
    let mut window = Window::new(bootstrap);
    let mut found = Collection::default();
    let mut left_out = 0;
    let ends = order.iter().skip(1).map(|&slot| u64::from(slot) * 8);
    let ends = ends.chain([bootstrap.len()]);
    for (&slot, end) in order.iter().zip(ends) {
        let at = u64::from(slot) * 8;
        let Some((mut from, count)) = chunk_records(&mut window, at, end, superblock)? else {
            left_out += 1;
            continue;
        };
        let mut left = count;
        while left > 0 {
            let step = left.min(STEP);
            let bytes = window.exactly(from, step * chunk::LEN)?;
            for bytes in bytes.chunks_exact(chunk::LEN) {
                let fits = ChunkRecord::parse(bytes, from).is_ok_and(|record| {
                    let size = extended.get(usize::from(record.blob));
                    let end = record.stored_offset.checked_add(record.stored_len.into());
                    let inside = usize::from(record.blob) < blobs
                        && (1..=superblock.chunk_size).contains(&record.len)
                        && end.is_some_and(|end| size.is_none_or(|it| end <= it.stored_size));
                    inside && found.add(&record)
                });
                left_out += u64::from(!fits);
            }
            from += (step * chunk::LEN) as u64;
            left -= step;
        }
    }
    if left_out > 0 {
        log::warn!(
            "{}: {left_out} inode or chunk records do not fit; what needs them is not served",
            bootstrap.path().display()
        );
    }
    Ok(found)
}

/// Offset and number of the chunk records of the inode at `at`, if the whole
/// record fits and ends by `end`.
fn chunk_records(
    window: &mut Window<'_>,
    at: u64,
    end: u64,
    superblock: &SuperBlock,
) -> Result<Option<(u64, usize)>, ImageError> {
    let Ok(inode) = Inode::parse(window.some(at, inode::LEN)?, at) else {
        return Ok(None);
    };
    let is_file = inode.attr.file_type == FileType::Regular;
    if at < superblock::LEN || is_file && inode.check_chunk_count(superblock.chunk_size).is_err() {
        return Ok(None);
    }
    let Some(from) = inode.chunks_at(window)? else {
        return Ok(None);
    };
    let count = if is_file {
        u64::from(inode.child_count)
    } else {
        0
    };
    let fits = count
        .checked_mul(chunk::LEN as u64)
        .and_then(|len| len.checked_add(from))
        .is_some_and(|behind| behind <= end);
    let count = usize::try_from(count).ok().filter(|_| fits);
    Ok(count.map(|count| (from, count)))
}
