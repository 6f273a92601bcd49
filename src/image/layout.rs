//! Chunk records: where the chunks of each blob lie.
//!
//! In an image with a section, records are read in groups when they are first
//! needed and proved against the blob's layout digest, which is part of the key
//! of its cache file. In other images the whole chunk table is read at mount.

use std::sync::Arc;

use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;

use crate::bounded_cache::bounded;
use crate::chunk::{Chunk, Digest};
use crate::image::bootstrap::Bootstrap;
use crate::image::error::ImageError;
use crate::image::list::List;
use crate::image::proof::{self, FANOUT, Leaf, ListHead, ListKind};
use crate::image::rafs::blob::BlobEntry;
use crate::image::rafs::record;

/// [`FANOUT`], for chunk indices.
const FANOUT_32: u32 = 128;

/// Groups of records that stay in memory (8 KiB each).
const GROUPS: usize = 512;

/// Longest chunk table that is read whole, in bytes: 6 million chunks. Images
/// with a section have no such limit.
const TABLE_MAX: u64 = 512 << 20;

/// The chunk records of an image.
#[derive(Debug)]
pub enum Layout {
    /// Records are proved when they are needed.
    Proved(ProvedLayout),
    /// All records, by (blob, index).
    Loaded(Vec<Chunk>),
}

/// Chunk records with proofs.
#[derive(Debug)]
pub struct ProvedLayout {
    /// Offset of the chunk table in the bootstrap.
    table: u64,
    /// For each blob the list of its records and the position of the first.
    blobs: Vec<(List, u64)>,
    groups: Cache<(u16, u32), Arc<[Chunk]>>,
}

impl ProvedLayout {
    /// A layout over the chunk table at `table`.
    pub fn new(table: u64, blobs: Vec<(List, u64)>) -> Self {
        Self {
            table,
            blobs,
            groups: bounded(GROUPS, GROUPS as u64, UnitWeighter),
        }
    }

    fn group(
        &self,
        bootstrap: &Bootstrap,
        blob: u16,
        group: u32,
    ) -> Result<Arc<[Chunk]>, ImageError> {
        if let Some(found) = self.groups.get(&(blob, group)) {
            return Ok(found);
        }
        let (list, first) = self
            .blobs
            .get(usize::from(blob))
            .ok_or_else(|| bootstrap.damaged(format!("a chunk in blob number {blob}")))?;
        let start = u64::from(group) * FANOUT as u64;
        let count = list.head.count.saturating_sub(start).min(FANOUT as u64);
        // With the record before, so that overlaps across groups are seen too.
        let ahead = u64::from(start > 0);
        let position = first
            .saturating_add(start - ahead)
            .saturating_mul(record::RECORD as u64);
        let len = usize::try_from(count + ahead).unwrap_or(FANOUT) * record::RECORD;
        let bytes = bootstrap.read(self.table.saturating_add(position), len)?;
        let (before, bytes) =
            bytes.split_at(bytes.len().min(usize::from(ahead == 1) * record::RECORD));
        let mut leaf = Leaf::new(ListKind::Layout);
        let mut chunks = Vec::with_capacity(FANOUT);
        for (bytes, index) in bytes.chunks_exact(record::RECORD).zip(start..) {
            let chunk = record::parse(bytes).map_err(|reason| bootstrap.damaged(reason))?;
            leaf.layout(&chunk);
            // Blob and index are not hashed: the position says them.
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            chunks.push(Chunk {
                blob,
                index,
                ..chunk
            });
        }
        list.prove(bootstrap, u64::from(group), leaf.take())?;
        check_apart(&chunks).map_err(|reason| bootstrap.damaged(reason))?;
        if let (Ok(before), Some(own)) = (record::parse(before), chunks.first()) {
            check_apart(&[Chunk { blob, ..before }, *own])
                .map_err(|reason| bootstrap.damaged(reason))?;
        }
        let chunks: Arc<[Chunk]> = chunks.into();
        self.groups.insert((blob, group), Arc::clone(&chunks));
        Ok(chunks)
    }
}

impl Layout {
    /// The record of a chunk.
    ///
    /// # Errors
    /// When there is none, or it cannot be read or proved.
    pub fn chunk(&self, bootstrap: &Bootstrap, blob: u16, index: u32) -> Result<Chunk, ImageError> {
        let found = match self {
            Self::Proved(layout) => {
                let group = layout.group(bootstrap, blob, index / FANOUT_32)?;
                group.get(index as usize % FANOUT).copied()
            }
            Self::Loaded(chunks) => chunks
                .binary_search_by_key(&(blob, index), |chunk| (chunk.blob, chunk.index))
                .ok()
                .and_then(|at| chunks.get(at).copied()),
        };
        found.ok_or_else(|| bootstrap.damaged(format!("chunk {index} of blob number {blob}")))
    }
}

impl Layout {
    /// As [`Layout::chunk`], but none for a chunk that the image's tables do
    /// not list: tools that list only the chunks that the image uses.
    ///
    /// # Errors
    /// When the record cannot be read or proved.
    pub fn listed(
        &self,
        bootstrap: &Bootstrap,
        blob: u16,
        index: u32,
    ) -> Result<Option<Chunk>, ImageError> {
        match self {
            Self::Proved(_) => self.chunk(bootstrap, blob, index).map(Some),
            Self::Loaded(_) => Ok(self.chunk(bootstrap, blob, index).ok()),
        }
    }
}

/// Refuses slots of a blob's uncompressed layout that overlap.
fn check_apart(chunks: &[Chunk]) -> Result<(), String> {
    for pair in chunks.windows(2) {
        let end = pair[0].offset.checked_add(u64::from(pair[0].len));
        if pair[0].blob == pair[1].blob && end.is_none_or(|end| end > pair[1].offset) {
            return Err(format!(
                "chunks {} and {} of blob number {} overlap",
                pair[0].index, pair[1].index, pair[0].blob
            ));
        }
    }
    Ok(())
}

/// Reads a whole chunk table of `len` bytes, sorts it by (blob, index) and
/// checks it. Also returns the layout digest of each of `blobs`.
///
/// # Errors
/// When the table cannot be read or breaks the format.
pub fn load_all(
    bootstrap: &Bootstrap,
    (offset, len): (u64, u64),
    blobs: &[BlobEntry],
) -> Result<(Vec<Chunk>, Vec<Digest>), ImageError> {
    const PIECE: u64 = (record::RECORD * 8192) as u64;
    let damaged = |reason: String| bootstrap.damaged(reason);
    if len > TABLE_MAX {
        return Err(damaged(format!(
            "a chunk table of {len} bytes; at most {TABLE_MAX} are read"
        )));
    }
    if len % record::RECORD as u64 != 0 || offset.saturating_add(len) > bootstrap.len() {
        return Err(damaged(format!("chunk table of {len} bytes at {offset}")));
    }
    let mut chunks = Vec::new();
    let mut done = 0;
    while done < len {
        let piece = PIECE.min(len - done);
        let bytes = bootstrap.read(offset + done, usize::try_from(piece).unwrap_or(0))?;
        for bytes in bytes.chunks_exact(record::RECORD) {
            let chunk = record::parse(bytes).map_err(damaged)?;
            let blob = blobs.get(usize::from(chunk.blob));
            let encrypted = blob.is_some_and(|blob| blob.key.is_some());
            if record::is_encrypted(bytes) != encrypted {
                let (index, blob) = (chunk.index, chunk.blob);
                return Err(damaged(format!(
                    "chunk {index} of blob number {blob} differs from the blob in encryption"
                )));
            }
            chunks.push(chunk);
        }
        done += piece;
    }
    chunks.sort_by_key(|chunk| (chunk.blob, chunk.index));
    if let Some(pair) = chunks
        .windows(2)
        .find(|pair| (pair[0].blob, pair[0].index) == (pair[1].blob, pair[1].index))
    {
        return Err(damaged(format!("two records of chunk {}", pair[0].index)));
    }
    check_apart(&chunks).map_err(damaged)?;
    let mut layouts = vec![Vec::new(); blobs.len()];
    for group in chunks.chunk_by(|a, b| a.blob == b.blob) {
        let blob = group.first().map_or(0, |chunk| usize::from(chunk.blob));
        let slot = layouts
            .get_mut(blob)
            .ok_or_else(|| damaged(format!("a chunk in blob number {blob}")))?;
        *slot = group.to_vec();
    }
    let digests = layouts.iter().map(|chunks| layout_list(chunks).1).collect();
    Ok((chunks, digests))
}

/// The list over one blob's chunk records: stored levels and digest.
pub fn layout_list(chunks: &[Chunk]) -> (Vec<u8>, Digest) {
    let mut leaf = Leaf::new(ListKind::Layout);
    let leaves: Vec<Digest> = chunks
        .chunks(FANOUT)
        .map(|group| {
            group.iter().for_each(|chunk| leaf.layout(chunk));
            leaf.take()
        })
        .collect();
    let head = ListHead {
        count: chunks.len() as u64,
        ..ListHead::default()
    };
    proof::build_list(ListKind::Layout, &head, &leaves)
}

const _: () = assert!(FANOUT_32 as usize == FANOUT);
