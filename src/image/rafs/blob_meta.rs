//! The header behind a blob's chunk-info table, and what it says of the table.
//!
//! Layout: the table as it is stored, then [`HEADER`] bytes. The table, once it
//! is decompressed: one record per chunk ([`super::chunk_info`]), then the
//! contexts of the extents that chunks share ([`super::context`]), then the
//! dictionaries of those that enter a gzip stream.

use super::blob::{self, BlobEntry};
use super::{chunk_info, context, put, u32_at, u64_at};
use crate::chunk::Compressor;

/// Bytes of the header.
pub const HEADER: usize = 4096;

/// Longest table that is read, in bytes: decompressed, and as it is stored.
/// Longer ones would take too much memory: this much is 5 million chunks, or
/// 3,900 contexts with dictionaries.
pub const TABLE_MAX: u64 = 128 << 20;
/// See [`TABLE_MAX`].
pub const STORED_MAX: u64 = 48 << 20;

const MAGIC: u32 = 0xb10b_b10b;

/// Where the parts of a table are, all inside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableLayout {
    /// Number of chunk records.
    pub chunks: u32,
    /// Whether records have 24 bytes rather than 16.
    pub is_v2: bool,
    /// Compressor of the table as a whole.
    pub compressor: Compressor,
    /// Bytes of the table when it is decompressed.
    pub raw: usize,
    /// Number of contexts, which follow the records.
    pub contexts: u32,
    /// Where the dictionaries begin.
    pub dictionaries: usize,
}

/// The header of a table, as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableHeader {
    /// The blob's feature bits.
    pub features: u32,
    /// Compressor of the table as a whole.
    pub compressor: Compressor,
    /// Number of chunk records.
    pub chunks: u32,
    /// Offset of the table in its file, stored and raw length.
    pub table: (u64, u64, u64),
    /// Number of contexts.
    pub contexts: u32,
    /// Offset in the raw table and length of contexts and dictionaries.
    pub context_area: (u64, u64),
}

impl TableHeader {
    /// Encodes the header.
    pub fn encode(&self) -> Vec<u8> {
        let mut header = vec![0; HEADER];
        put(&mut header, 0, &MAGIC.to_le_bytes());
        put(&mut header, 4, &self.features.to_le_bytes());
        put(&mut header, 8, &self.compressor.id().to_le_bytes());
        put(&mut header, 12, &self.chunks.to_le_bytes());
        let (offset, stored, raw) = self.table;
        let (at, len) = self.context_area;
        for (value, at) in [offset, stored, raw, at, len]
            .into_iter()
            .zip([16, 24, 32, 40, 48])
        {
            put(&mut header, at, &value.to_le_bytes());
        }
        put(&mut header, 56, &self.contexts.to_le_bytes());
        put(&mut header, HEADER - 4, &MAGIC.to_le_bytes());
        header
    }
}

impl TableLayout {
    /// Parses a header of [`HEADER`] bytes and compares it with the blob's entry
    /// in the bootstrap.
    ///
    /// # Errors
    /// Says which field does not fit, with its offset in the header.
    pub fn parse(header: &[u8], entry: &BlobEntry) -> Result<Self, String> {
        if header.len() != HEADER {
            return Err(format!("a header of {} bytes", header.len()));
        }
        let same = |what: &str, at: usize, found: u64, wanted: u64| {
            if found == wanted {
                return Ok(());
            }
            Err(format!(
                "{what} is {found:#x} (header offset {at}), {wanted:#x} in the blob table"
            ))
        };
        let word = |at| u64::from(u32_at(header, at));
        same("magic", 0, word(0), MAGIC.into())?;
        same("magic", HEADER - 4, word(HEADER - 4), MAGIC.into())?;
        // Those that say how to read; others differ after a merge.
        let form = u64::from(blob::INFO_V2 | blob::ZRAN | blob::BATCH | blob::ENCRYPTED);
        let features = u64::from(entry.features);
        same("features", 4, word(4) & form, features & form)?;
        let compressor = u64::from(entry.info_compressor.id());
        same("table compressor", 8, word(8), compressor)?;
        same("chunk count", 12, word(12), entry.chunks.into())?;
        let (offset, stored, raw) = entry.info;
        same("table offset", 16, u64_at(header, 16), offset)?;
        same("stored size", 24, u64_at(header, 24), stored)?;
        same("raw size", 32, u64_at(header, 32), raw)?;

        let layout = Self::expected(entry)?;
        let (at, size, count) = (u64_at(header, 40), u64_at(header, 48), u32_at(header, 56));
        let records = layout.records() as u64;
        if count == 0 {
            return Ok(layout);
        }
        let contexts = u64::from(count).saturating_mul(context::CONTEXT as u64);
        if at != records || contexts > size || at.checked_add(size) != Some(raw) {
            return Err(format!(
                "{count} contexts in {size} bytes at {at} (header offset 40) of a table of {raw} bytes \
                 with {records} bytes of records"
            ));
        }
        // Each context serves a chunk, or it has no use.
        if count > layout.chunks {
            return Err(format!(
                "{count} contexts (header offset 56) for {} chunks",
                layout.chunks
            ));
        }
        let dictionaries = usize::try_from(records + contexts).unwrap_or(usize::MAX);
        Ok(Self {
            contexts: count,
            dictionaries,
            ..layout
        })
    }

    /// What the blob's entry in the bootstrap says of the table: the number of
    /// contexts only the header says.
    ///
    /// # Errors
    /// When the table is longer than is read, or has no room for its records.
    pub fn expected(entry: &BlobEntry) -> Result<Self, String> {
        let (_, stored, raw) = entry.info;
        if stored > STORED_MAX || raw > TABLE_MAX {
            return Err(format!(
                "a chunk-info table of {stored} bytes, {raw} decompressed; at most {STORED_MAX} and \
                 {TABLE_MAX} are read"
            ));
        }
        let layout = Self {
            chunks: entry.chunks,
            is_v2: entry.features & blob::INFO_V2 != 0,
            compressor: entry.info_compressor,
            raw: usize::try_from(raw).unwrap_or(usize::MAX),
            contexts: 0,
            dictionaries: 0,
        };
        if layout.records() > layout.raw {
            return Err(format!(
                "a chunk-info table of {raw} bytes for {} chunks",
                layout.chunks
            ));
        }
        Ok(Self {
            dictionaries: layout.records(),
            ..layout
        })
    }

    /// Bytes of a record.
    pub fn record(&self) -> usize {
        if self.is_v2 {
            chunk_info::V2
        } else {
            chunk_info::V1
        }
    }

    /// Bytes of all records.
    pub fn records(&self) -> usize {
        usize::try_from(self.chunks)
            .unwrap_or(usize::MAX)
            .saturating_mul(self.record())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> BlobEntry {
        BlobEntry {
            features: blob::ALIGNED | blob::INFO_V2 | blob::BATCH,
            chunks: 10,
            info: (5000, 100, 24 * 10 + 40 * 2),
            ..BlobEntry::example()
        }
    }

    fn header(entry: &BlobEntry) -> Vec<u8> {
        let mut header = vec![0; HEADER];
        put(&mut header, 0, &MAGIC.to_le_bytes());
        put(&mut header, 4, &entry.features.to_le_bytes());
        put(&mut header, 8, &entry.info_compressor.id().to_le_bytes());
        put(&mut header, 12, &entry.chunks.to_le_bytes());
        put(&mut header, 16, &entry.info.0.to_le_bytes());
        put(&mut header, 24, &entry.info.1.to_le_bytes());
        put(&mut header, 32, &entry.info.2.to_le_bytes());
        put(&mut header, 40, &240_u64.to_le_bytes());
        put(&mut header, 48, &80_u64.to_le_bytes());
        put(&mut header, 56, &2_u32.to_le_bytes());
        put(&mut header, HEADER - 4, &MAGIC.to_le_bytes());
        header
    }

    #[test]
    fn a_header_that_agrees_with_the_blob_table_is_read() {
        let layout = TableLayout::parse(&header(&entry()), &entry()).unwrap();
        assert_eq!((layout.chunks, layout.contexts), (10, 2));
        assert_eq!((layout.records(), layout.dictionaries), (240, 320));
    }

    #[test]
    fn every_field_that_differs_is_named() {
        let good = header(&entry());
        for at in [0, 4, 8, 12, 16, 24, 32, 40, 48, 58, HEADER - 4] {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            let reason = TableLayout::parse(&bad, &entry()).unwrap_err();
            assert!(reason.contains("offset"), "{at}: {reason}");
        }
        assert!(TableLayout::parse(&good[1..], &entry()).is_err());
    }

    #[test]
    fn tables_without_bound_are_refused() {
        let mut entry = entry();
        entry.info.2 = TABLE_MAX + 1;
        let reason = TableLayout::expected(&entry).unwrap_err();
        assert!(reason.contains("at most"), "{reason}");
        entry.info.2 = 239;
        assert!(TableLayout::expected(&entry).is_err());
    }
}
