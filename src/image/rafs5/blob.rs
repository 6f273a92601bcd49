//! The blob table and the extended blob table.

use super::superblock::EXTENDED_ENTRY;
use crate::chunk::is_blob_name;
use crate::image::field::BadField;
use crate::image::rafs::{u32_at, u64_at};

/// Bytes in front of an id: offset and size of what to read ahead.
const FRONT: usize = 8;

/// Bytes of a wrong id that are shown.
const SHOWN: usize = 64;

/// Most blobs of an image.
const BLOBS_MAX: usize = 1 << 12;

/// Parses the blob table at offset `at` of the bootstrap into ids.
///
/// # Errors
/// Names the entry that does not fit.
pub fn parse_ids(table: &[u8], at: u64) -> Result<Vec<String>, BadField> {
    let mut ids = Vec::new();
    let mut start = 0;
    // The padding at the end is shorter than an entry.
    while table.len() - start > FRONT {
        let name = start + FRONT;
        let rest = table.get(name..).unwrap_or_default();
        let id = rest.split(|&byte| byte == 0).next().unwrap_or_default();
        let bad = |why: String| Err(BadField::new("Blob id", at + name as u64, why));
        if !is_blob_name(id) {
            let shown = String::from_utf8_lossy(id.get(..SHOWN).unwrap_or(id));
            return bad(format!(
                "{shown:?} of {} bytes is no name of a blob",
                id.len()
            ));
        }
        if ids.len() == BLOBS_MAX {
            return bad(format!("more than {BLOBS_MAX} blobs"));
        }
        ids.push(String::from_utf8_lossy(id).into_owned());
        start = (name + id.len() + 1).min(table.len());
    }
    Ok(ids)
}

/// What the extended table says of a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extended {
    /// Feature bits.
    pub features: u32,
    /// Length of the blob file in bytes.
    pub stored_size: u64,
}

/// The bootstrap is inside the blob.
const INLINED: u32 = 0x2;

/// Data and tables are two blobs.
const SEPARATE: u32 = 0x10;

impl Extended {
    /// Whether the blob holds the bootstrap.
    pub fn is_inlined(&self) -> bool {
        self.features & INLINED != 0 && self.features & SEPARATE == 0
    }

    /// Parses the extended table.
    pub fn parse_all(table: &[u8]) -> Vec<Self> {
        let entries = table.chunks_exact(usize::try_from(EXTENDED_ENTRY).unwrap_or(64));
        let parse = |entry: &[u8]| Self {
            features: u32_at(entry, 4),
            stored_size: u64_at(entry, 16),
        };
        entries.map(parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &[u8]) -> Vec<u8> {
        [&[0; FRONT][..], id].concat()
    }

    #[test]
    fn ids_of_any_length_are_found_and_padding_ends_the_table() {
        let mut table = [entry(b"a"), entry(b"some-name.1"), entry(&[b'f'; 64])].join(&0);
        assert_eq!(parse_ids(&table, 0).unwrap().len(), 3);
        table.resize(table.len().next_multiple_of(8), 0);
        let ids = parse_ids(&table, 0).unwrap();
        assert_eq!(ids, ["a", "some-name.1", "f".repeat(64).as_str()]);
        assert!(parse_ids(&[], 0).unwrap().is_empty());
        assert!(parse_ids(&[0; 8], 0).unwrap().is_empty());
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for id in [&b""[..], b".", b"..", b"a/b", b"../x", b"a b", &[b'f'; 65]] {
            let bad = parse_ids(&[entry(id), vec![0]].concat(), 0x2000).unwrap_err();
            assert_eq!((bad.field, bad.at), ("Blob id", 0x2008), "{id:?}");
        }
    }
}
