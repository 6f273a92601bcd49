//! Writes the bootstrap: a RAFS v6 image that is legal EROFS, with the
//! integrity section behind its tables.
//!
//! `order` walks the tree, `place` finds room, `encode` fills inodes and
//! directory blocks, `prove` makes digests and the section with the `hints`,
//! [`write()`] puts the file together.

mod encode;
mod hints;
mod listing;
mod order;
mod place;
mod prove;

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::build::options::BuildOptions;
use crate::build::pack::{Packed, PackedBlob};
use crate::build::tree::{Content, NodeIndex, Tree};
use crate::chunk::{Chunk, Digest};
use crate::image::lookup::LINK_PATH_MAX;
use crate::image::proof;
use crate::image::rafs::blob::{self, BlobEntry};
use crate::image::rafs::superblock::{self, BLOBS_MAX, SuperBlock};
use crate::image::rafs::{BLOCK, BLOCK_LEN, SLOT, put, record, xattr};
use crate::image::section::{self, Trailer};
use crate::path_text::show;

/// Where devices start when bootstrap and blobs are laid out as one disk.
const MAPPED_ALIGN: u64 = 0x8_0000;

/// Why a bootstrap cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootstrapError {
    /// The file cannot be written.
    #[error("Cannot write bootstrap {}", path.display())]
    Write {
        /// The bootstrap.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The image does not fit the format.
    #[error("Cannot make bootstrap {}: {reason}", path.display())]
    Limit {
        /// The bootstrap.
        path: PathBuf,
        /// What is too large or cannot be held.
        reason: String,
    },
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// The image's root digest.
    pub root: Digest,
    /// Bytes of the bootstrap.
    pub size: u64,
}

/// Writes the bootstrap of a packed tree to `path`, replacing what is there. The
/// prefetch table lists the nodes `first`.
///
/// # Errors
/// When the file cannot be written or a limit of the format is passed.
pub fn write(
    path: &Path,
    tree: &Tree,
    packed: &Packed,
    options: &BuildOptions,
    first: &[NodeIndex],
) -> Result<Written, BootstrapError> {
    let limit = |reason| BootstrapError::Limit {
        path: path.to_owned(),
        reason,
    };
    let blobs = u16::try_from(packed.blobs.len())
        .ok()
        .filter(|&blobs| blobs <= BLOBS_MAX)
        .ok_or_else(|| limit(format!("{} blobs, at most {BLOBS_MAX}", packed.blobs.len())))?;
    let mut xattrs = Vec::with_capacity(tree.nodes.len());
    for node in &tree.nodes {
        xattrs.push(xattr::encode(&node.xattrs).map_err(limit)?);
    }
    let lens: Vec<usize> = xattrs.iter().map(Vec::len).collect();
    let order = order::Order::of(tree);
    if let Some(name) = order
        .canonical
        .values()
        .find(|name| name.path.len() > LINK_PATH_MAX)
    {
        let path = show(&name.path);
        return Err(limit(format!(
            "a hard link at a path of over {LINK_PATH_MAX} bytes: {path}"
        )));
    }
    let places = place::place(tree, &order, &lens);

    let slots = superblock::DEVICE_SLOTS + usize::from(blobs) * superblock::DEVICE_SLOT;
    let blob_table = (slots as u64).next_multiple_of(BLOCK);
    let blob_table_len = usize::from(blobs) * blob::ENTRY;
    let prefetch = prefetch_table(&places, packed, first);
    let prefetch_at = blob_table + blob_table_len as u64;
    let meta = (prefetch_at + prefetch.len() as u64).next_multiple_of(BLOCK);
    let block_area = meta + places.inode_area;
    let chunk_table = block_area + places.blocks * BLOCK;
    let chunk_table_len = (packed.chunks.len() * record::RECORD) as u64;
    let section_at = (chunk_table + chunk_table_len).next_multiple_of(BLOCK);
    let block = |at: u64| u32::try_from(at / BLOCK).map_err(|_| limit(format!("{at} bytes")));

    let spread = |node: NodeIndex| &places.nodes[node].spread[..];
    let proved = prove::prove(tree, &order, packed, spread);
    let size =
        (section_at + (proved.bytes.len() + section::TRAILER) as u64).next_multiple_of(BLOCK);
    if size > 1 << 31 {
        return Err(limit(format!(
            "it would have {size} bytes, at most 2 GiB are possible"
        )));
    }
    let root = proof::root_digest(
        proof::VERSION,
        section::KNOWN_BITS,
        options.chunk_size,
        options.algorithm,
        &proved.root_node,
    );
    let superblock = SuperBlock {
        block_bits: superblock::BLOCK_BITS,
        root_nid: places.nodes[0].at / SLOT,
        inodes: order.nodes.len() as u64,
        blocks: packed
            .blobs
            .iter()
            .fold(0, |sum, blob| sum.saturating_add(data_blocks(blob))),
        meta_block: block(meta)?,
        blobs,
        chunk_size: options.chunk_size,
        compressor: options.compressor,
        algorithm: options.algorithm,
        explicit_owner: true,
        inlined_digests: !packed.blobs.is_empty()
            && packed
                .blobs
                .iter()
                .all(|blob| blob.features & blob::INLINED_DIGESTS != 0),
        has_xattr: order.nodes.iter().any(|&node| lens[node] > 0),
        blob_table: (blob_table, u32::try_from(blob_table_len).unwrap_or(0)),
        chunk_table: (chunk_table, chunk_table_len),
        prefetch_table: match u32::try_from(prefetch.len()) {
            Ok(0) | Err(_) => (0, 0),
            Ok(len) => (prefetch_at, len),
        },
    };
    let nodes = encode::Encoder {
        tree,
        order: &order,
        places: &places,
        chunks: &packed.chunks,
        chunk_size: options.chunk_size,
        first_block: block(block_area)?,
    };

    let failed = |source| BootstrapError::Write {
        path: path.to_owned(),
        source,
    };
    let parent = path
        .parent()
        .filter(|it| !it.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(failed)?;
    let mut out = Output {
        inner: io::BufWriter::new(file.as_file_mut()),
        at: 0,
    };
    let mut go = || -> io::Result<()> {
        let mut head = vec![0; usize::try_from(blob_table).unwrap_or(BLOCK_LEN)];
        superblock.encode(&mut head);
        encode_devices(&mut head, &packed.blobs, size);
        out.put(&head)?;
        for (index, blob) in packed.blobs.iter().enumerate() {
            out.put(&blob_entry(blob, index, options.chunk_size).encode())?;
        }
        out.put(&prefetch)?;
        out.pad_to(meta)?;
        let (inodes, blocks) = nodes.encode(&xattrs);
        out.put(&inodes)?;
        out.put(&blocks)?;
        for (chunk, file_offset) in packed
            .chunks
            .iter()
            .zip(file_offsets(tree, packed, options))
        {
            out.put(&record::encode(chunk, file_offset))?;
        }
        out.pad_to(section_at)?;
        out.put(&proved.bytes)?;
        out.pad_to(size - section::TRAILER as u64)?;
        let trailer = Trailer {
            version: proof::VERSION,
            must_understand: section::KNOWN_BITS,
            may_ignore: proved.hints.bits(),
            offset: section_at,
            len: proved.bytes.len() as u64,
            root_record: proved.root_record,
            root_node: proved.root_node,
            blob_records: proved.blob_records,
            hints: proved.hints,
        };
        out.put(&trailer.encode())?;
        out.inner.flush()
    };
    go().map_err(failed)?;
    drop(out);
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))
        .map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(Written { root, size })
}

struct Output<W: Write> {
    inner: W,
    at: u64,
}

impl<W: Write> Output<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.inner.write_all(bytes)
    }

    fn pad_to(&mut self, offset: u64) -> io::Result<()> {
        const ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
        while self.at < offset {
            let len = (offset - self.at).min(BLOCK);
            self.put(&ZEROS[..usize::try_from(len).unwrap_or(BLOCK_LEN)])?;
        }
        Ok(())
    }
}

/// The node numbers of the files that a reader should fetch first (u32 each).
fn prefetch_table(places: &place::Places, packed: &Packed, first: &[NodeIndex]) -> Vec<u8> {
    if packed.blobs.is_empty() {
        return Vec::new();
    }
    first
        .iter()
        .filter_map(|&node| u32::try_from(places.nodes.get(node)?.nid()).ok())
        .flat_map(u32::to_le_bytes)
        .collect()
}

fn data_blocks(blob: &PackedBlob) -> u32 {
    u32::try_from(blob.uncompressed_size / BLOCK).unwrap_or(u32::MAX)
}

fn encode_devices(head: &mut [u8], blobs: &[PackedBlob], size: u64) {
    let mut mapped = size.next_multiple_of(MAPPED_ALIGN);
    let mut at = superblock::DEVICE_SLOTS;
    for blob in blobs {
        let start = u32::try_from(mapped / BLOCK).unwrap_or(0);
        put(
            head,
            at,
            &superblock::device_slot(&blob.id, data_blocks(blob), start),
        );
        mapped = (mapped + blob.uncompressed_size).next_multiple_of(MAPPED_ALIGN);
        at += superblock::DEVICE_SLOT;
    }
}

fn blob_entry(blob: &PackedBlob, index: usize, chunk_size: u32) -> BlobEntry {
    BlobEntry {
        id: blob.id.clone(),
        index: u32::try_from(index).unwrap_or(u32::MAX),
        chunk_size,
        chunks: blob.chunks,
        compressor: blob.compressor,
        algorithm: blob.algorithm,
        features: blob.features,
        stored_size: blob.stored_size,
        uncompressed_size: blob.uncompressed_size,
        info_compressor: blob.table_compressor,
        info: (blob.table_offset, blob.table_stored_size, blob.table_size),
        toc: blob.toc,
        meta: blob.meta,
        key: None,
    }
}

/// Where each chunk stands in the first file that uses it.
fn file_offsets(tree: &Tree, packed: &Packed, options: &BuildOptions) -> Vec<u64> {
    let mut offsets = vec![u64::MAX; packed.chunks.len()];
    for node in &tree.nodes {
        let Content::File(file) = &node.content else {
            continue;
        };
        for (&chunk, position) in file.chunks.iter().zip(0u64..) {
            let slot = &mut offsets[chunk as usize];
            *slot = (*slot).min(position * u64::from(options.chunk_size));
        }
    }
    offsets
        .into_iter()
        .map(|offset| if offset == u64::MAX { 0 } else { offset })
        .collect()
}

/// Positions in `Packed::chunks` are what files refer to.
fn chunk_of(chunks: &[Chunk], reference: u32) -> &Chunk {
    &chunks[reference as usize]
}

/// Number of a node in layout order, as EROFS's inode number.
fn numbers(order: &order::Order, count: usize) -> Vec<u32> {
    let mut numbers = vec![0; count];
    for (&node, number) in order.nodes.iter().zip(1u32..) {
        let node: NodeIndex = node;
        numbers[node] = number;
    }
    numbers
}
