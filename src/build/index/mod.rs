//! Indexes unchanged OCI layers: makes an image whose data stay in the layers'
//! own tar archives, gzip or plain.
//!
//! ```text
//! layer ─► decompress, note points ─► archive ─► chunks (digests), record
//!                                                contexts ─► meta blob
//! ```
//!
//! * [`layer`] reads a layer once and keeps copies while it is looked at.
//! * `chunks` cuts the files into ranges of the archive.
//! * `contexts` chooses where the gzip stream is entered.
//! * `meta` writes what a reader must know of a layer.
//!
//! The records are merged and the bootstrap is written as for any other image of
//! layers; its blobs are the layers.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::layers::{self, LayerError, LayerImage};
use super::options::BuildOptions;
use super::pack::{PackError, Packed, PackedBlob, Statistics};
use crate::chunk::{Chunk, Compressor, Digest, DigestAlgorithm};

mod chunks;
mod contexts;
pub mod layer;
mod meta;

pub use layer::Layer;

use chunks::Piece;

/// Bytes of an archive that are read at once.
const BUFFER: usize = 256 << 10;

/// Alignment of chunks in the uncompressed layout, in bytes.
const ALIGN: u64 = 4096;

/// Most chunks of a blob.
const CHUNKS_MAX: usize = 0xff_ffff;

/// Why an image cannot be indexed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A layer cannot be read, or is no gzip file after all.
    #[error("Cannot read layer sha256:{id}")]
    Layer {
        /// The layer.
        id: Digest,
        /// What the system or zlib said.
        source: io::Error,
    },
    /// There is no room for the copies.
    #[error("Cannot keep a layer in {}", dir.display())]
    Spool {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A layer that cannot be entered in the middle.
    #[error(
        "Layer sha256:{id} is compressed with zstd, which cannot be entered in the middle; use \
         `tidegate build` or `tidegate convert`"
    )]
    Zstd {
        /// The layer.
        id: Digest,
    },
    /// A sparse file of an archive.
    #[error(
        "Layer sha256:{layer} has a file that is stored in pieces (sparse), which an index cannot \
         name; use `tidegate build` or `tidegate convert`"
    )]
    NotOnePiece {
        /// The layer.
        layer: Digest,
    },
    /// Its archive.
    #[error(transparent)]
    Archive(#[from] LayerError),
    /// Its files.
    #[error(transparent)]
    Chunks(#[from] PackError),
    /// A stream without blocks to enter at.
    #[error(
        "Layer sha256:{id} cannot be entered near byte {offset} of its archive: a file crosses the \
         end of a gzip member there, or a block is too long; use `tidegate build` or `tidegate convert`"
    )]
    NoEntry {
        /// The layer.
        id: Digest,
        /// Offset in the archive.
        offset: u64,
    },
    /// More chunks than a blob may have.
    #[error("Layer sha256:{id} has too many chunks; choose a larger chunk size")]
    TooManyChunks {
        /// The layer.
        id: Digest,
    },
    /// An index cannot be written.
    #[error("Cannot write the index of layer sha256:{id} to {}", dir.display())]
    Write {
        /// The layer.
        id: Digest,
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The options of an index: chunks of `chunk_size`, digests that every reader
/// of this form demands.
pub fn options(chunk_size: u32) -> BuildOptions {
    BuildOptions {
        chunk_size,
        // What the superblock says; nothing is compressed here.
        compressor: Compressor::Gzip,
        algorithm: DigestAlgorithm::Sha256,
        ..BuildOptions::default()
    }
}

/// Looks through `layer` and writes what a reader must know of it to `dir`. Its
/// record, which goes to the empty file `record`, has the layer itself as its
/// blob, unless it has no data; [`PackedBlob::meta`] names what was written.
///
/// # Errors
/// When the layer is no tar archive or cannot be read, has a file that cannot be
/// named in it, or `dir` cannot be written to.
pub fn index(
    layer: &Layer,
    options: &BuildOptions,
    dir: &Path,
    record: (&File, &Path),
) -> Result<LayerImage, IndexError> {
    let id = layer.id;
    let name = format!("layer sha256:{id}");
    let archive = File::open(layer.archive()).map_err(|source| IndexError::Layer { id, source })?;
    let archive = BufReader::with_capacity(BUFFER, archive);
    layers::convert::record((&name, id), archive, options, record, |stream| {
        let pieces = chunks::cut(stream, id, options)?;
        let packed = pack(&pieces.unique, layer, options, dir)?;
        Ok((packed, pieces.references))
    })
}

/// The chunks of a layer as those of a blob, whose index is written.
fn pack(
    unique: &[Piece],
    layer: &Layer,
    options: &BuildOptions,
    dir: &Path,
) -> Result<Packed, IndexError> {
    let mut packed = Packed {
        blobs: Vec::new(),
        chunks: Vec::with_capacity(unique.len()),
        leading: Vec::new(),
        statistics: Statistics::default(),
    };
    if !unique.is_empty() {
        let blob = add(&mut packed, unique, layer, options, dir)?;
        packed.blobs.push(blob);
    }
    Ok(packed)
}

/// Adds the chunks and writes the index.
fn add(
    packed: &mut Packed,
    unique: &[Piece],
    layer: &Layer,
    options: &BuildOptions,
    dir: &Path,
) -> Result<PackedBlob, IndexError> {
    let id = layer.id;
    if unique.len() > CHUNKS_MAX {
        return Err(IndexError::TooManyChunks { id });
    }
    let ranges: Vec<(u64, u32)> = unique.iter().map(|it| (it.offset, it.len)).collect();
    let found = match &layer.points {
        None => None,
        Some(points) => {
            let stream = contexts::Stream {
                points,
                len: layer.stored_len,
            };
            let found = contexts::choose(&stream, &ranges);
            Some(found.map_err(|number| IndexError::NoEntry {
                id,
                offset: ranges.get(number).map_or(0, |range| range.0),
            })?)
        }
    };
    let mut offset = 0;
    for (number, piece) in unique.iter().enumerate() {
        let place = found.as_ref().and_then(|(_, places)| places.get(number));
        let (stored_offset, stored_len) = match place {
            Some(place) => place.stored,
            None => (piece.offset, piece.len),
        };
        packed.chunks.push(Chunk {
            blob: 0,
            index: u32::try_from(number).unwrap_or(u32::MAX),
            digest: piece.digest,
            len: piece.len,
            offset,
            stored_offset,
            stored_len,
            compressed: place.is_some(),
        });
        offset += u64::from(piece.len).next_multiple_of(ALIGN);
    }
    let index = meta::Index {
        chunks: &packed.chunks,
        contexts: found
            .as_ref()
            .map(|(contexts, places)| (&contexts[..], &places[..])),
        uncompressed_size: offset,
        algorithm: options.algorithm,
    };
    meta::write(&index, layer, dir).map_err(|source| IndexError::Write {
        id,
        dir: dir.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
