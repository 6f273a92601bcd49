//! The blob that lies beside a layer: chunk records, contexts, dictionaries and
//! digests (section 3 of Nydus's RAFS v6, form "zran").
//!
//! ```text
//! table (zstd) | header | footer | digests | footer | table of contents
//! ```

use std::io;
use std::path::Path;

use super::contexts::{Context, Place};
use super::layer::Layer;
use crate::build::pack::{PackedBlob, Sink};
use crate::chunk::{Chunk, Compressor, Digest, DigestAlgorithm};
use crate::image::rafs::blob;
use crate::image::rafs::blob_meta::TableHeader;
use crate::image::rafs::chunk_info::{ChunkInfo, Stored};
use crate::image::rafs::context::{CONTEXT, ZranContext};
use crate::image::rafs::toc::{self, Entry, Footer, Packed};
use sha2::Digest as _;

/// Level of zstd for the table. It is read often and written once.
const LEVEL: i32 = 19;

/// Features of every blob that is indexed.
const FEATURES: u32 = blob::ALIGNED
    | blob::INFO_V2
    | blob::SEPARATE
    | blob::INLINED_DIGESTS
    | blob::HAS_TAR_HEADER
    | blob::HAS_TOC
    | blob::CAP_TAR_TOC;

/// What a layer's chunks need to be found.
pub(super) struct Index<'a> {
    /// The chunks, by index.
    pub(super) chunks: &'a [Chunk],
    /// For a gzip layer: contexts, and the place of each chunk.
    pub(super) contexts: Option<(&'a [Context], &'a [Place])>,
    /// Length of the uncompressed layout.
    pub(super) uncompressed_size: u64,
    /// What names the chunks.
    pub(super) algorithm: DigestAlgorithm,
}

/// Writes the index of `layer` to `dir`, named by its SHA-256.
///
/// # Errors
/// When the layer cannot be read again or the file cannot be written.
pub(super) fn write(index: &Index<'_>, layer: &Layer, dir: &Path) -> io::Result<PackedBlob> {
    let zran = if index.contexts.is_some() {
        blob::ZRAN
    } else {
        0
    };
    let features = FEATURES | zran;
    let (raw, contexts) = table(index, layer)?;
    let records = (index.chunks.len() * crate::image::rafs::chunk_info::V2) as u64;
    let small = zstd::bulk::compress(&raw, LEVEL)?;
    let (stored, compressor) = if small.len() < raw.len() {
        (&small, Compressor::Zstd)
    } else {
        (&raw, Compressor::None)
    };
    let chunks = u32::try_from(index.chunks.len()).map_err(io::Error::other)?;
    let area = raw.len() as u64 - records;
    let header = TableHeader {
        features,
        compressor,
        chunks,
        table: (0, stored.len() as u64, raw.len() as u64),
        contexts,
        context_area: if contexts > 0 {
            (records, area)
        } else {
            (0, 0)
        },
    };
    let header = header.encode();
    let digests: Vec<u8> = index.chunks.iter().flat_map(|it| it.digest.0).collect();

    let sum = |bytes: &[u8]| Digest(sha2::Sha256::digest(bytes).into());
    let footer = |name: &str, len: usize| {
        let (name, len) = (name.to_owned(), len as u64);
        Footer { name, len }.encode()
    };
    let entry = |name: &str, packed, content: &[u8], offset, len| Entry {
        name: name.to_owned(),
        packed,
        digest: sum(content),
        offset,
        len,
        raw: content.len() as u64,
    };
    let mut sink = Sink::new(dir)?;
    let packed = match compressor {
        Compressor::None => Packed::None,
        _ => Packed::Zstd,
    };
    sink.write(stored)?;
    let header_at = sink.len();
    sink.write(&header)?;
    sink.write(&footer(toc::META, stored.len() + header.len()))?;
    let digests_at = sink.len();
    sink.write(&digests)?;
    sink.write(&footer(toc::DIGESTS, digests.len()))?;
    let contents = toc::encode(&[
        entry(toc::META, packed, &raw, 0, header_at),
        entry(
            toc::META_HEADER,
            Packed::None,
            &header,
            header_at,
            header.len() as u64,
        ),
        entry(
            toc::DIGESTS,
            Packed::None,
            &digests,
            digests_at,
            digests.len() as u64,
        ),
    ]);
    sink.write(&contents)?;
    let meta_len = sink.len();
    let name = sink.finish(dir)?;
    let meta = Digest::parse(&name).ok_or_else(|| io::Error::other("a name that is no digest"))?;
    Ok(PackedBlob {
        id: layer.id.to_string(),
        compressor: match index.contexts {
            Some(_) => Compressor::Gzip,
            None => Compressor::None,
        },
        algorithm: index.algorithm,
        chunks,
        uncompressed_size: index.uncompressed_size,
        stored_size: layer.stored_len,
        table_compressor: compressor,
        table_offset: 0,
        table_stored_size: stored.len() as u64,
        table_size: raw.len() as u64,
        dict: false,
        features,
        toc: Some((u32::try_from(contents.len()).unwrap_or(0), sum(&contents))),
        meta: Some((meta, meta_len)),
    })
}

/// Records, contexts and dictionaries, and the number of contexts.
fn table(index: &Index<'_>, layer: &Layer) -> io::Result<(Vec<u8>, u32)> {
    let mut table = Vec::new();
    let (contexts, places) = index.contexts.unwrap_or_default();
    for (number, chunk) in index.chunks.iter().enumerate() {
        let stored = match places.get(number) {
            Some(place) => Stored::Shared {
                context: place.context,
                at: chunk.stored_offset,
                offset: place.offset,
                zran: true,
            },
            None => Stored::Alone {
                offset: chunk.stored_offset,
                len: chunk.stored_len,
                compressed: false,
                crc: None,
            },
        };
        let info = ChunkInfo {
            offset: chunk.offset,
            len: chunk.len,
            stored,
            encrypted: false,
        };
        table.extend_from_slice(&info.encode_v2(chunk.stored_len));
    }
    let mut dictionaries = Vec::new();
    for context in contexts {
        let dictionary = layer.dictionary(context)?;
        let point = &context.point;
        let context = ZranContext {
            offset: point.offset,
            raw_offset: point.raw_offset,
            dictionary: dictionaries.len() as u64,
            len: context.len,
            raw: context.raw,
            dictionary_len: u32::try_from(dictionary.len()).unwrap_or(0),
            previous: point.previous,
            bits: point.bits,
        };
        table.extend_from_slice(&context.encode());
        dictionaries.extend_from_slice(&dictionary);
    }
    debug_assert_eq!(
        table.len(),
        index.chunks.len() * 24 + contexts.len() * CONTEXT
    );
    table.extend_from_slice(&dictionaries);
    Ok((table, u32::try_from(contexts.len()).unwrap_or(0)))
}
