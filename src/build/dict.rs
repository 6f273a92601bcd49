//! Reads the images whose chunks a build may use: chunk dicts.

use std::path::PathBuf;

use crate::build::options::BuildOptions;
use crate::build::pack::{ChunkDict, PackedBlob};
use crate::chunk::Chunk;
use crate::image::{ImageError, chunk_table};

/// Why a chunk dict cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DictError {
    /// The bootstrap cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The dict's chunks are cut or named in another way.
    #[error(
        "Chunk dict {} has {what}; build with the same chunk size and digest, or leave it out",
        path.display()
    )]
    Differs {
        /// The dict's bootstrap.
        path: PathBuf,
        /// What differs.
        what: String,
    },
}

/// Reads the chunk tables of the given bootstraps; of two blobs with the same
/// chunk the first is used.
///
/// # Errors
/// When a bootstrap cannot be read or does not go with the options.
pub fn read_dict(paths: &[PathBuf], options: &BuildOptions) -> Result<ChunkDict, DictError> {
    let mut all: Vec<(PackedBlob, Vec<Chunk>)> = Vec::new();
    for path in paths {
        let table = chunk_table::read(path)?;
        let differs = |what| {
            Err(DictError::Differs {
                path: path.clone(),
                what,
            })
        };
        if table.superblock.chunk_size != options.chunk_size {
            return differs(format!("chunks of {} bytes", table.superblock.chunk_size));
        }
        if table.superblock.algorithm != options.algorithm {
            return differs(format!("digests by {:?}", table.superblock.algorithm));
        }
        for (entry, chunks) in table.blobs {
            if all.iter().any(|(blob, _)| blob.id == entry.id) {
                continue;
            }
            let blob = PackedBlob {
                id: entry.id,
                compressor: entry.compressor,
                algorithm: entry.algorithm,
                chunks: entry.chunks,
                uncompressed_size: entry.uncompressed_size,
                stored_size: entry.stored_size,
                table_compressor: entry.info_compressor,
                table_offset: entry.info.0,
                table_stored_size: entry.info.1,
                table_size: entry.info.2,
                dict: true,
                features: entry.features,
                toc: entry.toc,
                meta: entry.meta,
            };
            all.push((blob, chunks));
        }
    }
    Ok(ChunkDict::new(all, options.algorithm))
}
