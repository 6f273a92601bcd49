//! Writes one blob of RAFS v6: chunk data, the chunk-info table (v1, 16 bytes
//! per chunk), and a header of 4096 bytes with its magic at both ends.

use std::io;
use std::path::Path;

use super::PackedBlob;
use super::sink::Sink;
use crate::build::options::BuildOptions;
use crate::chunk::{Chunk, Compressor, Digest};

/// Alignment of chunks in the uncompressed layout, in bytes.
const ALIGN: u64 = 4096;

/// Magic of the chunk-info header, first and last.
const MAGIC: u32 = 0xb10b_b10b;

/// Bytes of the chunk-info header.
const HEADER: usize = 4096;

/// Blob features: chunks are aligned (1), and the blob's id is the one in the
/// blob table (bit 30).
const FEATURES: u32 = 0x4000_0001;

/// Level of zstd for the table.
const TABLE_LEVEL: i32 = 3;

/// How large one blob may get.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most chunks.
    pub(super) chunks: u32,
    /// Most bytes of the uncompressed layout.
    pub(super) uncompressed: u64,
    /// Bytes of chunk data that are too many.
    pub(super) stored: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            chunks: 0xff_ffff,
            uncompressed: 1 << 44,
            stored: 1 << 40,
        }
    }
}

/// A blob being written.
pub(super) struct BlobWriter {
    sink: Sink,
    /// Position in the image's blob table.
    index: u16,
    compressor: Compressor,
    limits: Limits,
    chunks: u32,
    uncompressed: u64,
    table: Vec<u8>,
}

impl BlobWriter {
    pub(super) fn new(
        dir: &Path,
        index: u16,
        options: &BuildOptions,
        limits: Limits,
    ) -> io::Result<Self> {
        Ok(Self {
            sink: Sink::new(dir)?,
            index,
            compressor: options.compressor,
            limits,
            chunks: 0,
            uncompressed: 0,
            table: Vec::new(),
        })
    }

    /// Whether another chunk has room.
    pub(super) fn has_room(&self, len: u32, stored_len: u32) -> bool {
        let uncompressed = self.uncompressed + u64::from(len).next_multiple_of(ALIGN);
        let stored = self.sink.len() + u64::from(stored_len) + ALIGN;
        self.chunks < self.limits.chunks
            && uncompressed <= self.limits.uncompressed
            && stored < self.limits.stored
    }

    /// Appends the stored form of a chunk of `len` bytes.
    pub(super) fn append(
        &mut self,
        digest: Digest,
        len: u32,
        bytes: &[u8],
        compressed: bool,
    ) -> io::Result<Chunk> {
        if self.compressor == Compressor::None {
            // Then the blob is a device that a kernel can read.
            self.sink.pad(ALIGN)?;
        }
        let stored_len = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let chunk = Chunk {
            blob: self.index,
            index: self.chunks,
            digest,
            len,
            offset: self.uncompressed,
            stored_offset: self.sink.len(),
            stored_len,
            compressed,
        };
        self.sink.write(bytes)?;
        self.table.extend_from_slice(&table_entry(&chunk));
        self.uncompressed += u64::from(len).next_multiple_of(ALIGN);
        self.chunks += 1;
        Ok(chunk)
    }

    /// Ends the blob and names it.
    pub(super) fn finish(mut self, dir: &Path, options: &BuildOptions) -> io::Result<PackedBlob> {
        if self.compressor == Compressor::None {
            self.sink.pad(ALIGN)?;
        }
        let table_offset = self.sink.len();
        let small = match self.compressor {
            Compressor::None => None,
            _ => Some(zstd::bulk::compress(&self.table, TABLE_LEVEL)?)
                .filter(|small| small.len() < self.table.len()),
        };
        let stored = small.as_deref().unwrap_or(&self.table);
        let mut blob = PackedBlob {
            id: String::new(),
            compressor: self.compressor,
            algorithm: options.algorithm,
            chunks: self.chunks,
            uncompressed_size: self.uncompressed,
            stored_size: 0,
            table_compressor: if small.is_some() {
                Compressor::Zstd
            } else {
                Compressor::None
            },
            table_offset,
            table_stored_size: u64::try_from(stored.len()).map_err(io::Error::other)?,
            table_size: u64::try_from(self.table.len()).map_err(io::Error::other)?,
            dict: false,
            features: FEATURES,
            toc: None,
            meta: None,
        };
        self.sink.write(stored)?;
        self.sink.write(&header(&blob))?;
        blob.stored_size = self.sink.len();
        blob.id = self.sink.finish(dir)?;
        Ok(blob)
    }
}

/// A v1 record. Both words have the size less one in 24 bits, split in two:
/// bits 63 to 44 are the low ones. The first word has the four high ones in
/// bits 11 to 8 and the offset in between, the second has them in bits 43 to
/// 40 above the offset.
fn table_entry(chunk: &Chunk) -> [u8; 16] {
    let low = |size: u64| (size & 0xf_ffff) << 44;
    let high = |size: u64| (size >> 20) & 0xf;
    let (len, stored) = (u64::from(chunk.len) - 1, u64::from(chunk.stored_len) - 1);
    let uncompressed = low(len) | chunk.offset | high(len) << 8;
    let compressed = low(stored) | high(stored) << 40 | chunk.stored_offset;
    let mut entry = [0; 16];
    let (first, second) = entry.split_at_mut(8);
    first.copy_from_slice(&uncompressed.to_le_bytes());
    second.copy_from_slice(&compressed.to_le_bytes());
    entry
}

fn header(blob: &PackedBlob) -> Vec<u8> {
    let mut header = Vec::with_capacity(HEADER);
    for word in [MAGIC, FEATURES, blob.table_compressor.id(), blob.chunks] {
        header.extend_from_slice(&word.to_le_bytes());
    }
    for word in [blob.table_offset, blob.table_stored_size, blob.table_size] {
        header.extend_from_slice(&word.to_le_bytes());
    }
    header.resize(HEADER - 4, 0);
    header.extend_from_slice(&MAGIC.to_le_bytes());
    header
}
