//! The tables that lie in a blob itself: which of its chunks share extents.
//!
//! Nothing in them decides what a reader gets: the digest in the bootstrap does.
//! They are compared with the bootstrap's records, and proved if the bootstrap
//! has a digest of the table of contents; a lie that is left costs a fetch.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

use crate::chunk::{Chunk, Compressor, Digest, Form, Packing, Tables};
use crate::cipher;
use crate::extent::{Entry, Extent, Extents, Member, StoredTables};
use crate::image::rafs::blob::{self, BlobEntry};
use crate::image::rafs::blob_meta::{self, TableLayout};
use crate::image::rafs::chunk_info::{ChunkInfo, Stored};
use crate::image::rafs::context::{self, BatchContext, ZranContext};
use crate::image::rafs::toc;

/// How the chunks of a blob with this entry are packed.
///
/// # Errors
/// When features do not go together, or tables are longer than is read.
pub(crate) fn packing(entry: &BlobEntry) -> Result<Packing, String> {
    let has = |bit| entry.features & bit != 0;
    let form = match (has(blob::TARFS), has(blob::ZRAN), has(blob::BATCH)) {
        (false, false, false) => Form::Plain,
        (false, false, true) => Form::Batch,
        (false, true, false) => Form::Zran,
        (true, false, false) => Form::Tar,
        _ => return Err(format!("features {:#x}", entry.features)),
    };
    let whole = form == Form::Zran || form == Form::Tar;
    // A layer that is a plain archive has chunks like any other blob; only its
    // tables, which nobody needs then, lie elsewhere.
    let batches = form == Form::Batch;
    if entry.key.is_some() && (whole || has(blob::SEPARATE)) || has(blob::SEPARATE) && batches {
        return Err(format!("features {:#x}", entry.features));
    }
    let shares = form == Form::Batch || form == Form::Zran;
    if shares && !has(blob::INFO_V2) {
        return Err(format!(
            "features {:#x} without records of 24 bytes",
            entry.features
        ));
    }
    Ok(Packing {
        form,
        tables: shares.then(|| tables(entry)).transpose()?,
        key: entry.key.clone(),
    })
}

/// Where the tables of a blob are.
pub(crate) fn tables(entry: &BlobEntry) -> Result<Tables, String> {
    TableLayout::expected(entry)?;
    let (id, size) = match &entry.meta {
        Some((digest, size)) => (digest.to_string(), *size),
        None => (entry.id.clone(), entry.stored_size),
    };
    let (offset, stored, _) = entry.info;
    let len = stored + blob_meta::HEADER as u64;
    if offset.checked_add(len).is_none_or(|end| end > size) {
        return Err(format!(
            "a chunk-info table of {stored} bytes at {offset} of a blob of {size}"
        ));
    }
    let toc = match &entry.toc {
        None => None,
        Some((len, _)) => {
            let at = size.checked_sub(u64::from(*len));
            let at = at.filter(|_| toc::TOC_RANGE.contains(len));
            Some((
                at.ok_or_else(|| format!("a table of contents of {len} bytes"))?,
                *len,
            ))
        }
    };
    Ok(Tables {
        id,
        info: (
            offset,
            u32::try_from(len).map_err(|error| error.to_string())?,
        ),
        toc,
    })
}

/// Reads the tables of blob number `position` and compares them with what the
/// bootstrap says of its chunks: `record` gives it for each chunk that the
/// image lists.
///
/// # Errors
/// Says which table is wrong, and where.
pub(crate) fn read(
    entry: &BlobEntry,
    position: u16,
    stored: &StoredTables<'_>,
    mut record: impl FnMut(u32) -> Option<Chunk>,
) -> Result<Extents, String> {
    let opened = Opened::new(entry, stored)?;
    let (layout, proved) = (opened.layout, opened.proved);
    let form = packing(entry)?.form;
    let mut extents = opened.extents(form, position)?;
    let mut members = Vec::new();
    // Where the first chunk of each batch says that the batch is.
    let mut batches = vec![None; extents.len()];
    let (records, _) = opened.raw.split_at(layout.records());
    for (bytes, index) in records.chunks_exact(layout.record()).zip(0..) {
        let wrong = |what: String| Err(format!("{what} (record {index} of the chunk-info table)"));
        let info = if layout.is_v2 {
            match ChunkInfo::parse_v2(bytes) {
                Ok(info) => info,
                Err(what) => return wrong(what),
            }
        } else {
            ChunkInfo::parse_v1(bytes)
        };
        if info.encrypted != entry.key.is_some() {
            return wrong("encryption differs from the blob table".into());
        }
        if let Stored::Shared {
            context,
            at,
            offset,
            zran,
        } = info.stored
        {
            if zran != (form == Form::Zran) {
                return wrong("a context of another kind than the blob's".into());
            }
            let Some(batch) = batches.get_mut(context as usize) else {
                return wrong(format!("context {context} of {}", extents.len()));
            };
            if !zran && *batch.get_or_insert(at) != at {
                return wrong(format!("batch {context} is said to be in two places"));
            }
            members.push(Member {
                chunk: index,
                extent: context,
                offset,
                len: info.len,
            });
        }
        if let Some(chunk) = record(index)
            && let Some(what) = differs(&info, &chunk, form)
        {
            return wrong(format!("{what} differs from the bootstrap's record"));
        }
    }
    if form == Form::Batch {
        for (extent, at) in extents.iter_mut().zip(batches) {
            extent.offset = at.unwrap_or(0);
        }
    }
    for extent in &extents {
        let end = extent.offset.checked_add(extent.len.into());
        if end.is_none_or(|end| end > entry.stored_size) {
            return Err(format!(
                "context {} ends behind the blob's {} bytes",
                extent.number, entry.stored_size
            ));
        }
    }
    let behind = layout.dictionaries;
    let Opened {
        raw: mut dictionaries,
        ..
    } = opened;
    dictionaries.drain(..behind.min(dictionaries.len()));
    Extents::new(entry.chunks, extents, members, dictionaries, proved)
}

/// What of a chunk is not as the bootstrap's record says.
fn differs(info: &ChunkInfo, chunk: &Chunk, form: Form) -> Option<&'static str> {
    if info.offset != chunk.offset {
        return Some("the uncompressed offset");
    }
    if info.len != chunk.len {
        return Some("the length");
    }
    match (info.stored, form) {
        (
            Stored::Alone {
                offset,
                len,
                compressed,
                ..
            },
            _,
        ) => {
            let alone = (chunk.stored_offset, chunk.stored_len, chunk.compressed);
            ((offset, len, compressed) != alone).then_some("the place in the blob")
        }
        (Stored::Shared { .. }, Form::Batch) => {
            (chunk.stored_len != 0).then_some("that it is in a batch")
        }
        (Stored::Shared { .. }, _) => None,
    }
}

/// Tables that were decrypted, decompressed and, if possible, proved.
struct Opened {
    layout: TableLayout,
    raw: Vec<u8>,
    proved: bool,
}

impl Opened {
    fn new(entry: &BlobEntry, stored: &StoredTables<'_>) -> Result<Self, String> {
        let split = stored.info.len().checked_sub(blob_meta::HEADER);
        let (table, header) = split
            .and_then(|at| stored.info.split_at_checked(at))
            .ok_or_else(|| format!("{} bytes of tables", stored.info.len()))?;
        let (mut table, mut header) = (Cow::Borrowed(table), Cow::Borrowed(header));
        if let Some(key) = &entry.key {
            for (what, part) in [("header", &mut header), ("table", &mut table)] {
                let decrypted = cipher::decrypt(key, part.to_mut());
                decrypted.ok_or_else(|| format!("a {what} too short to be encrypted"))?;
            }
        }
        let layout = TableLayout::parse(&header, entry)?;
        let raw = decompress(&table, &layout)?;
        let proved = match (&entry.toc, stored.toc) {
            (Some((_, digest)), Some(bytes)) => {
                prove(digest, bytes, &raw, &header)?;
                true
            }
            _ => false,
        };
        Ok(Self {
            layout,
            raw,
            proved,
        })
    }

    /// The extents that the contexts tell. Those of batches get their offset
    /// from their chunks.
    fn extents(&self, form: Form, blob: u16) -> Result<Vec<Extent>, String> {
        let contexts = self
            .raw
            .get(self.layout.records()..self.layout.dictionaries);
        let contexts = contexts.unwrap_or_default();
        let parse = |(bytes, number): (&[u8], u32)| {
            extent(bytes, form, blob, number).map_err(|what| {
                let at = self.layout.records() + number as usize * context::CONTEXT;
                format!("{what} (context {number} at {at} of the chunk-info table)")
            })
        };
        let contexts = contexts.chunks_exact(context::CONTEXT).zip(0..);
        contexts.map(parse).collect()
    }
}

fn extent(bytes: &[u8], form: Form, blob: u16, number: u32) -> Result<Extent, String> {
    let extent = |offset, len, raw, entry| Extent {
        blob,
        number,
        offset,
        len,
        raw,
        chunks: (0, 0),
        entry,
    };
    if form == Form::Batch {
        let context = BatchContext::parse(bytes)?;
        return Ok(extent(0, context.len, context.raw, Entry::Whole));
    }
    let context = ZranContext::parse(bytes)?;
    let at = u32::try_from(context.dictionary)
        .map_err(|_| format!("a dictionary at {}", context.dictionary))?;
    let entry = Entry::Stream {
        bits: context.bits,
        previous: context.previous,
        dictionary: (at, context.dictionary_len),
    };
    Ok(extent(context.offset, context.len, context.raw, entry))
}

/// The table, decompressed into exactly the bytes that were announced.
fn decompress(stored: &[u8], layout: &TableLayout) -> Result<Vec<u8>, String> {
    let wanted = layout.raw;
    let raw = match layout.compressor {
        Compressor::None => stored.to_vec(),
        Compressor::Zstd => {
            let mut raw = vec![0; wanted];
            let got = zstd::bulk::decompress_to_buffer(stored, raw.as_mut_slice());
            raw.truncate(got.map_err(|why| format!("zstd cannot decompress the table: {why}"))?);
            raw
        }
        Compressor::Lz4 => {
            let mut raw = vec![0; wanted];
            let got = lz4_flex::block::decompress_into(stored, &mut raw);
            raw.truncate(got.map_err(|why| format!("lz4 cannot decompress the table: {why}"))?);
            raw
        }
        Compressor::Gzip => return Err("a chunk-info table in gzip form".into()),
    };
    if raw.len() != wanted {
        return Err(format!("{} bytes of table in place of {wanted}", raw.len()));
    }
    Ok(raw)
}

/// Proves table and header by the table of contents, whose digest the bootstrap
/// has.
fn prove(digest: &Digest, bytes: &[u8], raw: &[u8], header: &[u8]) -> Result<(), String> {
    let sum = |bytes: &[u8]| Digest(Sha256::digest(bytes).into());
    let found = sum(bytes);
    if found != *digest {
        return Err(format!(
            "the table of contents is sha256:{found}, the bootstrap names sha256:{digest}"
        ));
    }
    let entries = toc::parse(bytes)?;
    for (name, content) in [(toc::META, raw), (toc::META_HEADER, header)] {
        let entry = entries.iter().find(|entry| entry.name == name);
        let entry = entry.ok_or_else(|| format!("no {name} in the table of contents"))?;
        let found = sum(content);
        if found != entry.digest {
            return Err(format!(
                "{name} is sha256:{found}, the table of contents names sha256:{}",
                entry.digest
            ));
        }
    }
    Ok(())
}
