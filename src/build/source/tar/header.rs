//! The 512-byte header of an entry.

use std::ops::Range;

use super::pax::Pax;
use super::problem::EntryProblem;
use crate::build::tree::Meta;

/// Bytes of a tar block.
pub(super) const BLOCK: u64 = 512;

const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const KIND: usize = 156;
const LINK: Range<usize> = 157..257;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;

/// One header block.
pub(super) struct Header {
    block: [u8; 512],
}

impl Header {
    /// None if the block is all zeros.
    pub(super) fn new(block: [u8; 512]) -> Option<Self> {
        block
            .iter()
            .any(|byte| *byte != 0)
            .then_some(Self { block })
    }

    pub(super) fn kind(&self) -> u8 {
        self.block[KIND]
    }

    /// The fields behind the name, for GNU's sparse layout.
    pub(super) fn raw(&self) -> &[u8; 512] {
        &self.block
    }

    /// The name, with ustar's prefix if there is one.
    pub(super) fn name(&self) -> Vec<u8> {
        tar::Header::from_byte_slice(&self.block)
            .path_bytes()
            .into_owned()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        text(&self.block[LINK])
    }

    /// Whether the sum of the bytes is the one that the header tells; old
    /// writers summed signed bytes.
    pub(super) fn checksum_holds(&self) -> bool {
        let outside = |at: &usize| !CHECKSUM.contains(at);
        let bytes = || {
            (0..self.block.len())
                .filter(outside)
                .map(|at| self.block[at])
        };
        let unsigned: i64 = bytes().map(i64::from).sum::<i64>() + 8 * i64::from(b' ');
        let signed: i64 = bytes()
            .map(|byte| i64::from(byte.cast_signed()))
            .sum::<i64>()
            + 8 * i64::from(b' ');
        matches!(number(&self.block[CHECKSUM]), Some(told) if told == unsigned || told == signed)
    }

    pub(super) fn size(&self) -> Result<u64, EntryProblem> {
        self.field("size", SIZE)
    }

    pub(super) fn device(&self) -> Result<(u32, u32), EntryProblem> {
        Ok((
            self.field("device major", MAJOR)?,
            self.field("device minor", MINOR)?,
        ))
    }

    fn field<T: TryFrom<i64>>(
        &self,
        name: &'static str,
        range: Range<usize>,
    ) -> Result<T, EntryProblem> {
        number(&self.block[range])
            .and_then(|value| T::try_from(value).ok())
            .ok_or(EntryProblem::Number(name))
    }
}

/// The attributes of an entry: what PAX says, else what the header says.
pub(super) fn meta(header: &Header, pax: &Pax) -> Result<Meta, EntryProblem> {
    let mode: u32 = header.field("mode", MODE)?;
    let (mtime, mtime_ns) = match pax.mtime {
        Some(time) => time,
        None => (header.field("mtime", MTIME)?, 0),
    };
    Ok(Meta {
        mode: u16::try_from(mode & 0o7777).unwrap_or_default(),
        uid: pax.uid.map_or_else(|| header.field("uid", UID), Ok)?,
        gid: pax.gid.map_or_else(|| header.field("gid", GID), Ok)?,
        mtime,
        mtime_ns,
    })
}

/// `len` rounded up to whole blocks.
pub(super) fn padded(len: u64) -> u64 {
    len.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// The bytes before the first zero.
pub(super) fn text(bytes: &[u8]) -> Vec<u8> {
    bytes
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default()
        .to_vec()
}

/// A numeric field: octal text between blanks and zeros (nothing counts as 0),
/// or GNU's big-endian two's complement when the top bit is set.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Bit 6 of the first byte is the sign; bit 7 is only the mark.
        let negative = first & 0x40 != 0;
        let start = if negative {
            i128::from(first.cast_signed())
        } else {
            i128::from(first & 0x7f)
        };
        let value = rest.iter().try_fold(start, |value, byte| {
            value
                .checked_mul(256)
                .map(|value| value + i128::from(*byte))
        })?;
        return i64::try_from(value).ok();
    }
    let digits = field.split(|byte| *byte == 0).next()?.trim_ascii();
    digits.iter().try_fold(0_i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_every_dialect() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"        "), Some(0));
        assert_eq!(number(b"12345678"), None);
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Some(256));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfb"), Some(-5));
        assert_eq!(
            number(&[0x80, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            None
        );
        assert_eq!(number(b""), None);
    }
}
