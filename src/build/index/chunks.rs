//! The chunks of a layer as ranges of its archive.

use std::collections::HashMap;
use std::io::Read;

use super::IndexError;
use crate::build::layers::convert::LayerStream;
use crate::build::options::BuildOptions;
use crate::build::pack::{ChunkStream, PackError};
use crate::chunk::Digest;

/// A range of an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// Offset in the archive.
    pub(super) offset: u64,
    /// Length in bytes.
    pub(super) len: u32,
    /// Digest of its bytes.
    pub(super) digest: Digest,
}

/// The chunks of a layer.
#[derive(Default)]
pub(super) struct Pieces {
    /// The first of those that are equal, ascending by offset.
    pub(super) unique: Vec<Piece>,
    /// All, as positions in `unique`, in the order of the archive.
    pub(super) references: Vec<u32>,
}

/// Takes all chunks from `stream`.
///
/// # Errors
/// When a file does not lie in the archive as one piece, or the archive cannot
/// be read.
pub(super) fn cut<R: Read + Send>(
    stream: &mut LayerStream<R>,
    layer: Digest,
    options: &BuildOptions,
) -> Result<Pieces, IndexError> {
    let mut pieces = Pieces::default();
    let mut known: HashMap<(Digest, u32), u32> = HashMap::new();
    let mut buffer = Vec::new();
    while let Some(len) = stream.next_len()? {
        let offset = stream.position();
        let offset = offset.ok_or(IndexError::NotOnePiece { layer })?;
        buffer.resize(usize::try_from(len).unwrap_or_default(), 0);
        stream.read(&mut buffer)?;
        let digest = options.algorithm.digest(&buffer);
        let next = u32::try_from(pieces.unique.len()).map_err(|_| PackError::TooManyChunks)?;
        let position = *known.entry((digest, len)).or_insert_with(|| {
            let piece = Piece {
                offset,
                len,
                digest,
            };
            pieces.unique.push(piece);
            next
        });
        pieces.references.push(position);
    }
    Ok(pieces)
}
