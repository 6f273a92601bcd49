//! Compresses one chunk.

use std::io;

use crate::build::options::BuildOptions;
use crate::chunk::Compressor;

/// A thread's compressor; its working memory serves all chunks.
pub(super) enum Encoder {
    /// Chunks stay as they are.
    None,
    /// Raw LZ4 blocks.
    Lz4,
    /// One zstd frame per chunk, with its content's size and no checksum.
    Zstd(zstd::bulk::Compressor<'static>),
}

impl Encoder {
    pub(super) fn new(options: &BuildOptions) -> io::Result<Self> {
        Ok(match options.compressor {
            Compressor::None => Self::None,
            Compressor::Lz4 => Self::Lz4,
            Compressor::Zstd => Self::Zstd(zstd::bulk::Compressor::new(options.zstd_level)?),
            Compressor::Gzip => return Err(io::Error::from(io::ErrorKind::Unsupported)),
        })
    }

    /// Most bytes that [`Encoder::encode`] may need for `len` bytes.
    pub(super) fn bound(compressor: Compressor, len: usize) -> usize {
        match compressor {
            Compressor::Lz4 => lz4_flex::block::get_maximum_output_size(len),
            Compressor::Zstd => zstd::zstd_safe::compress_bound(len),
            Compressor::None | Compressor::Gzip => len,
        }
    }

    /// Writes the compressed form of `raw` to the start of `out` and gives its
    /// length; None if it is not smaller.
    pub(super) fn encode(&mut self, raw: &[u8], out: &mut [u8]) -> io::Result<Option<usize>> {
        let len = match self {
            Self::None => return Ok(None),
            Self::Lz4 => lz4_flex::block::compress_into(raw, out).map_err(io::Error::other)?,
            Self::Zstd(context) => context.compress_to_buffer(raw, out)?,
        };
        Ok((len < raw.len()).then_some(len))
    }
}
