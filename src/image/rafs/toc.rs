//! The table of contents at the end of a blob, and the footers behind its
//! sections.
//!
//! A footer is a tar header *behind* what it describes, so files are read from
//! their end. Source of the header's layout: POSIX `ustar`, in GNU tar's
//! variant.

use super::{field, put, u32_at, u64_at};
use crate::chunk::Digest;

/// Bytes of a footer.
pub const FOOTER: usize = 512;

/// Bytes of an entry of the table.
pub const ENTRY: usize = 128;

/// Lengths that a table with its footer may have, in bytes.
pub const TOC_RANGE: std::ops::RangeInclusive<u32> = 512..=0x1_0000;

/// Name of the table itself.
pub const TOC: &str = "rafs.blob.toc";
/// Name of the chunk-info table, with its header where a footer names it.
pub const META: &str = "blob.meta";
/// Name of the header behind the chunk-info table.
pub const META_HEADER: &str = "blob.meta.header";
/// Name of the array of chunk digests.
pub const DIGESTS: &str = "blob.digest";
/// Name of a bootstrap.
pub const BOOTSTRAP: &str = "image.boot";

/// What a footer says of the bytes before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Footer {
    /// Name of the section.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
}

impl Footer {
    /// Encodes the footer.
    pub fn encode(&self) -> [u8; FOOTER] {
        let mut footer = [0; FOOTER];
        put(&mut footer, 0, self.name.as_bytes());
        put(&mut footer, 100, b"0000444\0");
        for at in [108, 116] {
            put(&mut footer, at, b"0000000\0");
        }
        put(&mut footer, 124, format!("{:011o}\0", self.len).as_bytes());
        put(&mut footer, 136, b"00000000000\0");
        put(&mut footer, 148, &[b' '; 8]);
        put(&mut footer, 156, b"0");
        put(&mut footer, 257, b"ustar  \0");
        let sum: u32 = footer.iter().map(|&byte| u32::from(byte)).sum();
        put(&mut footer, 148, format!("{sum:07o}\0").as_bytes());
        footer
    }

    /// Parses a footer of [`FOOTER`] bytes. None: it is none.
    pub fn parse(footer: &[u8]) -> Option<Self> {
        if footer.len() != FOOTER || !footer.get(257..)?.starts_with(b"ustar") {
            return None;
        }
        let sum = octal(footer.get(148..156)?)?;
        let blank = u64::from(b' ') * 8;
        let bytes = footer.iter().map(|&byte| u64::from(byte));
        let checked: u64 = footer
            .get(148..156)?
            .iter()
            .map(|&byte| u64::from(byte))
            .sum();
        if bytes.sum::<u64>() - checked + blank != sum {
            return None;
        }
        Some(Self {
            name: name(footer.get(..100)?)?,
            len: octal(footer.get(124..136)?)?,
        })
    }
}

/// How a section is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packed {
    /// As it is.
    None,
    /// As a zstd frame.
    Zstd,
    /// As an LZ4 block.
    Lz4,
}

/// An entry of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Name of the section.
    pub name: String,
    /// How it is stored.
    pub packed: Packed,
    /// SHA-256 of the section, decompressed.
    pub digest: Digest,
    /// Offset in the blob.
    pub offset: u64,
    /// Length in the blob.
    pub len: u64,
    /// Length when it is decompressed.
    pub raw: u64,
}

impl Entry {
    /// Encodes the entry.
    pub fn encode(&self) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        let flags: u32 = match self.packed {
            Packed::None => 1,
            Packed::Zstd => 2,
            Packed::Lz4 => 4,
        };
        put(&mut entry, 0, &flags.to_le_bytes());
        put(&mut entry, 8, self.name.as_bytes());
        put(&mut entry, 24, &self.digest.0);
        put(&mut entry, 56, &self.offset.to_le_bytes());
        put(&mut entry, 64, &self.len.to_le_bytes());
        put(&mut entry, 72, &self.raw.to_le_bytes());
        entry
    }
}

/// Encodes a table with the footer behind it.
pub fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut toc: Vec<u8> = entries.iter().flat_map(Entry::encode).collect();
    let footer = Footer {
        name: TOC.to_owned(),
        len: toc.len() as u64,
    };
    toc.extend_from_slice(&footer.encode());
    toc
}

/// Parses a table with the footer behind it.
///
/// # Errors
/// Says which entry does not fit, with its offset.
pub fn parse(toc: &[u8]) -> Result<Vec<Entry>, String> {
    let fits = u32::try_from(toc.len()).is_ok_and(|len| TOC_RANGE.contains(&len));
    if !fits || !toc.len().is_multiple_of(ENTRY) {
        return Err(format!("a table of contents of {} bytes", toc.len()));
    }
    let (entries, footer) = toc.split_at(toc.len() - FOOTER);
    let footer = Footer::parse(footer).ok_or("the table of contents has no footer")?;
    if footer.name != TOC || footer.len != entries.len() as u64 {
        return Err(format!(
            "the footer says {} bytes of {:?} in place of {} of the table of contents",
            footer.len,
            footer.name,
            entries.len()
        ));
    }
    let parse = |(number, entry): (usize, &[u8])| {
        entry_of(entry).ok_or_else(|| {
            let at = number * ENTRY;
            format!("an entry that is none at {at} of the table of contents")
        })
    };
    entries.chunks_exact(ENTRY).enumerate().map(parse).collect()
}

fn entry_of(entry: &[u8]) -> Option<Entry> {
    let packed = match u32_at(entry, 0) {
        1 => Packed::None,
        2 => Packed::Zstd,
        4 => Packed::Lz4,
        _ => return None,
    };
    Some(Entry {
        name: name(entry.get(8..24)?)?,
        packed,
        digest: Digest(field(entry, 24)),
        offset: u64_at(entry, 56),
        len: u64_at(entry, 64),
        raw: u64_at(entry, 72),
    })
}

/// A name that ends at the first NUL.
fn name(bytes: &[u8]) -> Option<String> {
    let len = bytes.iter().position(|&byte| byte == 0);
    let name = bytes.get(..len.unwrap_or(bytes.len()))?;
    String::from_utf8(name.to_vec()).ok()
}

/// An octal number with NULs and blanks around it.
fn octal(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let digits = text.trim_matches(['\0', ' ']);
    u64::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer(name: &str, len: u64) -> Vec<u8> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_size(len);
        header.set_mode(0o444);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    fn toc() -> Vec<u8> {
        let mut toc = vec![0; ENTRY];
        put(&mut toc, 0, &2_u32.to_le_bytes());
        put(&mut toc, 8, META_HEADER.as_bytes());
        put(&mut toc, 24, &[7; 32]);
        put(&mut toc, 56, &11_u64.to_le_bytes());
        put(&mut toc, 64, &12_u64.to_le_bytes());
        put(&mut toc, 72, &13_u64.to_le_bytes());
        toc.extend(footer(TOC, 128));
        toc
    }

    #[test]
    fn entries_and_their_footer_are_read() {
        let entries = parse(&toc()).unwrap();
        let expected = Entry {
            name: META_HEADER.into(),
            packed: Packed::Zstd,
            digest: Digest([7; 32]),
            offset: 11,
            len: 12,
            raw: 13,
        };
        assert_eq!(encode(std::slice::from_ref(&expected)), toc());
        assert_eq!(entries, [expected]);
        assert_eq!(parse(&footer(TOC, 0)), Ok(Vec::new()));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let good = toc();
        for (at, byte) in [(0, 3), (8, 0xff), (ENTRY, b'x'), (ENTRY + 134, b'1')] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(parse(&bad).is_err(), "{at}");
        }
        for len in [0, 1, 511, 639] {
            assert!(parse(&good[..len]).is_err(), "{len}");
        }
        assert!(parse(&footer(TOC, 128)).is_err());
        assert!(parse(&footer(META, 0)).is_err());
        assert_eq!(Footer::parse(&[0; FOOTER]), None);
    }
}
