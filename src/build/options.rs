//! How an image is built.

use std::num::NonZeroUsize;

use crate::chunk::{CHUNK_SIZE_RANGE, Compressor, DigestAlgorithm};

/// Choices of one build. The image depends on all of them but `threads`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildOptions {
    /// Bytes of a chunk, a power of two in [`CHUNK_SIZE_RANGE`].
    pub chunk_size: u32,
    /// How chunks are compressed: none, LZ4 or zstd.
    pub compressor: Compressor,
    /// Level of zstd; others ignore it.
    pub zstd_level: i32,
    /// What names the chunks.
    pub algorithm: DigestAlgorithm,
    /// Threads that read, digest and compress; 0 counts as 1.
    pub threads: usize,
}

/// A choice that no image can be built with.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionsError {
    /// The chunk size.
    #[error(
        "Chunk size {0} is not a power of two from {min} to {max}",
        min = CHUNK_SIZE_RANGE.start(),
        max = CHUNK_SIZE_RANGE.end()
    )]
    ChunkSize(u32),
    /// The compressor.
    #[error("Chunks cannot be written with gzip; choose zstd, lz4 or none")]
    Gzip,
    /// The level of zstd.
    #[error("Zstd has no level {0}")]
    ZstdLevel(i32),
}

impl Default for BuildOptions {
    /// 1 MiB chunks, zstd level 3, SHA-256, one thread per core.
    fn default() -> Self {
        Self {
            chunk_size: 1 << 20,
            compressor: Compressor::Zstd,
            zstd_level: 3,
            algorithm: DigestAlgorithm::Sha256,
            threads: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        }
    }
}

impl BuildOptions {
    /// Whether an image can be built so.
    ///
    /// # Errors
    /// Names the first choice that is out of range.
    pub fn check(&self) -> Result<(), OptionsError> {
        if !self.chunk_size.is_power_of_two() || !CHUNK_SIZE_RANGE.contains(&self.chunk_size) {
            return Err(OptionsError::ChunkSize(self.chunk_size));
        }
        match self.compressor {
            Compressor::Gzip => Err(OptionsError::Gzip),
            Compressor::Zstd if !zstd::compression_level_range().contains(&self.zstd_level) => {
                Err(OptionsError::ZstdLevel(self.zstd_level))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_can_be_built_with() {
        assert_eq!(BuildOptions::default().check(), Ok(()));
    }

    #[test]
    fn odd_chunk_sizes_and_gzip_are_refused() {
        for size in [0, 1, 2048, 4097, 3 << 12, 32 << 20] {
            let options = BuildOptions {
                chunk_size: size,
                ..BuildOptions::default()
            };
            assert_eq!(options.check(), Err(OptionsError::ChunkSize(size)));
        }
        let options = BuildOptions {
            compressor: Compressor::Gzip,
            ..BuildOptions::default()
        };
        assert_eq!(options.check(), Err(OptionsError::Gzip));
        let options = BuildOptions {
            zstd_level: 99,
            ..BuildOptions::default()
        };
        assert_eq!(options.check(), Err(OptionsError::ZstdLevel(99)));
    }
}
